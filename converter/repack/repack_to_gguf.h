// A quantized directory of a known family as a GGUF file whose blocks are the
// directory's codes and scales.
//
//   options.format = "gguf";
//   options.out = "model.gguf";
//   ASSIGN_OR_RETURN(auto result, RepackToGguf("model-gptq", options));
//
// Names, metadata, the order of rows and tensors, and the types of norms are
// those of `narrow convert`; matrices that are dense keep their type.

#ifndef NARROW_CONVERTER_REPACK_REPACK_TO_GGUF_H_
#define NARROW_CONVERTER_REPACK_REPACK_TO_GGUF_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/repack/repack_options.h"

namespace narrow {

// Unimplemented: a family that we do not know, a scheme that no type of GGUF
// has. InvalidArgument: a code, scale or minimum that the type does not hold,
// with layer, row and columns. Nothing is left behind then.
absl::StatusOr<RepackResult> RepackToGguf(absl::string_view folder,
                                          const RepackOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REPACK_TO_GGUF_H_
