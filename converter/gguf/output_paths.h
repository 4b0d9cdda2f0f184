// Where the outputs of a conversion go, and that they replace nothing which
// is read or written besides.
//
//   std::string path = OutputPath("models/gemma", "out/", "Q4_K_M", false);
//   RETURN_IF_ERROR(CheckOutputFile(path, "models/gemma", json));
//   RETURN_IF_ERROR(CheckInputIsKept(*model, path));
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_GGUF_OUTPUT_PATHS_H_
#define NARROW_CONVERTER_GGUF_OUTPUT_PATHS_H_

#include <string>

#include "absl/status/status.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// `out` as it is for one output; in it if it is empty or a folder, or if
// there are several outputs: <model>-<name>.gguf, the model without .gguf and
// without its number among shards.
std::string OutputPath(const std::string& model, const std::string& out,
                       const std::string& name, bool several);

// InvalidArgument if `file` is the model itself or the report.
absl::Status CheckOutputFile(const std::string& file, const std::string& model,
                             const std::string& json);

// InvalidArgument if `file` is one that the model is read from: a shard, or
// any file of a model directory but GGUF files, which such runs put there.
absl::Status CheckInputIsKept(const Checkpoint& model, const std::string& file);

}  // namespace narrow

#endif  // NARROW_CONVERTER_GGUF_OUTPUT_PATHS_H_
