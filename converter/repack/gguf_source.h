// A GGUF file as the source of a packed directory: linear layers of q4_0, q4_1,
// q8_0 and mxfp4 are packed, all else is dense, names and configuration are
// those of `narrow convert --to hf`.
//
//   ASSIGN_OR_RETURN(auto source, OpenGgufSource("model.gguf", to, options));

#ifndef NARROW_CONVERTER_REPACK_GGUF_SOURCE_H_
#define NARROW_CONVERTER_REPACK_GGUF_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/repack/repack_options.h"
#include "converter/repack/repack_source.h"
#include "formats/packing/packing.h"

namespace narrow {

// InvalidArgument, Unimplemented: a tensor that `to` cannot hold without loss,
// unless options.allow_dense; errors of PlanHfExport. `to` must outlive the
// source.
absl::StatusOr<std::unique_ptr<const RepackSource>> OpenGgufSource(
    absl::string_view path, const Packing& to, const RepackOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_GGUF_SOURCE_H_
