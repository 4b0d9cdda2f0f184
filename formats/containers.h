// Opens whatever holds tensors: a file or a folder of any known container.
//
//   ASSIGN_OR_RETURN(auto source, OpenTensorSource("Llama-3.2-1B"));
//   ASSIGN_OR_RETURN(auto source, OpenTensorSource("model-Q4_K_M.gguf"));
//
// What a file is, its bytes say; its name only words the error.

#ifndef NARROW_FORMATS_CONTAINERS_H_
#define NARROW_FORMATS_CONTAINERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/tensor.h"

namespace narrow {

struct Container {
  const char* name;    // as TensorSource::format() gives it
  const char* ending;  // ".gguf"
  bool (*looks_like)(absl::Span<const uint8_t> bytes);
  absl::StatusOr<std::unique_ptr<TensorSource>> (*open)(absl::string_view path);
  bool (*folder_has)(absl::string_view folder);
  absl::StatusOr<std::unique_ptr<TensorSource>> (*open_folder)(
      absl::string_view folder);
};

// All rows, in the order of containers.inc.
absl::Span<const Container> AllContainers();

// `path`: a file (of a split model, any GGUF shard, or the index of a
// safetensors folder), or a folder. NotFound if there is nothing,
// Unimplemented for other formats, by name where we know them.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenTensorSource(
    absl::string_view path);

}  // namespace narrow

#endif  // NARROW_FORMATS_CONTAINERS_H_
