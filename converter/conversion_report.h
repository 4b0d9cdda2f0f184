// What a conversion chose and wrote, for people and for machines.
//
//   std::fputs(TensorTable(plan).c_str(), stdout);
//   WriteTextFile("report.json", ConversionJson(outputs, seconds, false));

#ifndef NARROW_CONVERTER_CONVERSION_REPORT_H_
#define NARROW_CONVERTER_CONVERSION_REPORT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/json/json_writer.h"

namespace narrow {

// A line for each tensor: name, shape, type before and after, reason.
std::string TensorTable(const Plan& plan);

// The files of an output: one, or its shards.
std::vector<std::string> FilesOf(const Output& output);

// "wrote PATH: BYTES bytes (…), … bits per weight; types\n", and a line for
// each shard.
std::string Summary(const Output& output, bool dry_run);

// What a user should know of a plan: fall-backs, missing importance.
std::vector<std::string> Warnings(const Plan& plan);

// {"dry_run", "seconds", "outputs": [{"path", "file_type", "file_bytes",
// "files": [{"path", "bytes", "tensors"}], "tensor_bytes", "weights",
// "bits_per_weight", "fallbacks", "without_importance", "tensors": [{"name",
// "shape", "from", "to", "bytes", "fallback", "reason"}]}]}. `more`, which
// may be empty, adds keys to an output's object.
std::string ConversionJson(
    absl::Span<const Output> outputs, double seconds, bool dry_run,
    const std::function<void(size_t output, JsonWriter*)>& more);

}  // namespace narrow

#endif  // NARROW_CONVERTER_CONVERSION_REPORT_H_
