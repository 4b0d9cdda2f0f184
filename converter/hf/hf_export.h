// Writes a GGUF model as a Hugging Face directory that transformers loads:
// model.safetensors (or shards and their index), config.json,
// generation_config.json and the tokenizer's files.
//
//   ASSIGN_OR_RETURN(HfExport plan, PlanHfExport(*model, {}));
//   plan.n_bytes;                                  // of all tensors
//   RETURN_IF_ERROR(WriteHfExport(*model, plan, "out/", options));
//
// Streams as the pipeline does: pieces of rows are decoded by all threads and
// appended in order. The directory appears under its name when it is complete.

#ifndef NARROW_CONVERTER_HF_HF_EXPORT_H_
#define NARROW_CONVERTER_HF_HF_EXPORT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/pipeline.h"
#include "formats/arch/checkpoint.h"
#include "formats/hf_export/tensor_disassembly.h"

namespace narrow {

struct HfExportOptions {
  // "bf16", "f16" or "f32"; "auto": the type of the matrices that are not
  // quantized. If all are, the type that holds the vectors exactly: bf16, f16
  // or, if none does, bf16.
  std::string dtype = "auto";
  int64_t max_shard_bytes = 5'000'000'000;
};

struct HfExport {
  std::vector<DisassembledTensor> tensors;  // with their types, by name
  QuantType dtype;
  int64_t max_shard_bytes;
  int64_t n_bytes = 0;    // of the tensors
  int64_t n_weights = 0;  // in them
  // Names and contents of the small files.
  std::vector<std::pair<std::string, std::string>> files;
  std::vector<std::string> warnings;
};

// InvalidArgument: an unknown dtype, a model that is a directory already.
// Unimplemented, with its name, for what a directory cannot hold.
absl::StatusOr<HfExport> PlanHfExport(const Checkpoint& model,
                                      const HfExportOptions& options);

// `folder` must not exist or be empty: InvalidArgument. Until all is written
// it is "<folder>.partial", which an error removes and a killed process
// leaves; the next run takes it over. DataLoss names the tensor, row and
// column of a weight that is not finite in the exported type.
// `before_finish`, which may be empty, is called with the folder that has all
// files and not yet its name; what it adds begins with "narrow-manifest".
absl::Status WriteHfExport(
    const Checkpoint& model, const HfExport& plan, absl::string_view folder,
    const PipelineOptions& options,
    const std::function<absl::Status(const std::string& folder)>&
        before_finish = {});

// Rows [first_row, first_row + n_rows) of a tensor as the exported checkpoint
// has them, before they are rounded to its type.
absl::Status ReadExportedRows(const Checkpoint& model,
                              const DisassembledTensor& tensor,
                              int64_t first_row, int64_t n_rows, float* out);

// "bfloat16", as torch calls bf16.
absl::string_view TorchName(QuantType dtype);

}  // namespace narrow

#endif  // NARROW_CONVERTER_HF_HF_EXPORT_H_
