// What `narrow quantize` chose and wrote, for people and for programs.
//
//   std::fputs(QuantizeTable(plan).c_str(), stdout);
//   WriteTextFile("report.json", QuantizeJson(plan, outcome));

#ifndef NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_REPORT_H_
#define NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"

namespace narrow {

// The written directory against the original, over a text.
struct MeasuredLoss {
  std::string text;  // the file's name without its folder
  int64_t n_tokens = 0;
  double perplexity_original = 0;
  double perplexity = 0;
  double divergence = 0;  // mean KL divergence
  bool has_divergence = false;
};

struct QuantizeOutcome {
  std::string out;
  bool dry_run = false;
  QuantizeResult result;
  std::optional<MeasuredLoss> measured;
  double seconds = 0;
};

// A spread of relative errors, over the layers that have one.
struct ErrorSpread {
  int n = 0;
  double mean = 0;
  double median = 0;
  double largest = 0;
  std::string largest_name;
  double mean_rounding = 0;  // of round to nearest
};
ErrorSpread SpreadOf(const std::vector<LayerReport>& reports);

// A line for every tensor of the input: name, shape, type, what it becomes,
// bytes, reason.
std::string QuantizeTable(const QuantizePlan& plan);

// "wrote out: … bytes, …", files, errors, what went otherwise than asked.
std::string QuantizeSummary(const QuantizePlan& plan,
                            const QuantizeOutcome& outcome);

// {"output", "dry_run", "method", "format", "recipe", "file_bytes",
// "tensor_bytes", "input_bytes", "weights", "quantized_weights",
// "bits_per_weight", "refused", "files": [{"name", "bytes", "tensors"}],
// "layers": [{"name", "shape", "method", "solver", "scheme", "bytes",
// "reason", "relative_error", …}], "dense": [{"name", "reason", "refused"}],
// "tensors": [{"name", "type", "shape", "bytes"}], "notes", …}.
std::string QuantizeJson(const QuantizePlan& plan,
                         const QuantizeOutcome& outcome);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_REPORT_H_
