// A quantized model written in another packing, nothing lost: every packed
// weight is the same number as before. From a directory to a directory all
// other tensors and files are copied; to GGUF and from it they are written as
// `narrow convert` writes them.
//
//   RepackOptions options;
//   options.format = "compressed-tensors";
//   options.out = "model-ct";
//   ASSIGN_OR_RETURN(RepackResult result, Repack("model-gptq", options));

#ifndef NARROW_CONVERTER_REPACK_REPACK_H_
#define NARROW_CONVERTER_REPACK_REPACK_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/repack/repack_options.h"

namespace narrow {

// `model` is a directory, or a GGUF file. InvalidArgument, Unimplemented: what
// would be lost, of which layer. Nothing is left behind then.
absl::StatusOr<RepackResult> Repack(absl::string_view model,
                                    const RepackOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REPACK_H_
