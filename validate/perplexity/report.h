// What a measurement of perplexity came to, for people and for programs.
//
//   ASSIGN_OR_RETURN(PerplexityReport report, MeasurePerplexity(...));
//   std::fputs(RenderReport(report).c_str(), stdout);
//   WriteTextFile(path, ReportJson(report));
//
// Plain values.

#ifndef NARROW_VALIDATE_PERPLEXITY_REPORT_H_
#define NARROW_VALIDATE_PERPLEXITY_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibration/model_runner.h"
#include "formats/json/json_writer.h"
#include "kernels/device.h"
#include "validate/summary.h"
#include "validate/windows.h"

namespace narrow {

struct ModelReport {
  std::string path;
  // Of all tensors, as stored.
  int64_t tensor_bytes = 0;
  int64_t n_weights = 0;
  PerplexitySummary summary;
  double seconds = 0;  // in the model alone
  double tokens_per_second = 0;
  // Against the first model; none for the first itself.
  std::optional<PairedSummary> paired;
  // Minus the log-probability of every scored token, and its divergence from
  // the first model where measured; filled when asked for.
  std::vector<double> token_nll;
  std::vector<double> token_divergence;

  double bits_per_weight() const {
    return 8.0 * static_cast<double>(tensor_bytes) /
           static_cast<double>(n_weights);
  }
};

// What computed: "processor", or the device's description.
std::string DeviceName(const std::optional<Device>& device);

struct PerplexityReport {
  WindowSettings windows;
  Precision precision = Precision::kFast;
  int n_threads = 0;
  std::string device = "processor";  // DeviceName
  std::vector<std::string> text_paths;
  int64_t text_bytes = 0;
  int64_t n_text_tokens = 0;
  bool windows_begin_with_bos = false;
  std::vector<std::string> warnings;
  // When asked for: the tokens of each window as the models saw them, and the
  // first that is scored.
  std::vector<std::vector<int32_t>> window_tokens;
  std::vector<int64_t> window_first_scored;
  std::vector<ModelReport> models;  // the first is the reference
};

// "exact", "fast".
absl::string_view PrecisionName(Precision precision);

// "exact precision", and on what, unless that is the processor.
std::string PrecisionText(Precision precision, const std::string& device);

// How a text is cut, into the object that `json` is in: protocol, context,
// stride where it has one, and windows at most (null for all).
void AddWindowSettings(const WindowSettings& windows, JsonWriter* json);

// Indented JSON. Numbers that are unknown (an error of one value) are null.
std::string ReportJson(const PerplexityReport& report);

// A line on the settings and a table with a row a model; for one model also
// the line with which llama-perplexity ends, for scripts that look for it.
std::string RenderReport(const PerplexityReport& report);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PERPLEXITY_REPORT_H_
