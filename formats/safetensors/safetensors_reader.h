// Opens safetensors: a file, or a model's folder of one or several.
//
//   ASSIGN_OR_RETURN(auto source, OpenSafetensors("model.safetensors"));
//   ASSIGN_OR_RETURN(auto model, OpenSafetensorsFolder("Llama-3.2-1B"));
//
// Files are mapped, and nothing but headers is read on opening. Tensors come
// in the order of their data, file after file in the order of their names.
// Data need not be aligned for their type: copy, do not cast.

#ifndef NARROW_FORMATS_SAFETENSORS_SAFETENSORS_READER_H_
#define NARROW_FORMATS_SAFETENSORS_SAFETENSORS_READER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/tensor.h"

namespace narrow {

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensors(
    absl::string_view path);

// In this order, as llama.cpp's converter looks: an index and the files it
// names; model.safetensors; a complete model-00001-of-0000N.safetensors … set
// without index. Every tensor of the index must be in the file it names.
// Tensors that a file has and the index does not name are given too, as
// transformers loads them. NotFound if the folder has none of these.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFolder(
    absl::string_view folder);

// True if OpenSafetensorsFolder would find something to open.
bool HasSafetensors(absl::string_view folder);

// Whether a file with these bytes is meant to be safetensors.
bool LooksLikeSafetensors(absl::Span<const uint8_t> bytes);

}  // namespace narrow

#endif  // NARROW_FORMATS_SAFETENSORS_SAFETENSORS_READER_H_
