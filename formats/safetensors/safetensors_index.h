// Models in several safetensors files: the index that names the file of each
// tensor, and the names of the files.
//
//   ASSIGN_OR_RETURN(auto index, ReadSafetensorsIndex(path));
//   for (const auto& [tensor, file] : index.weight_map) ...

#ifndef NARROW_FORMATS_SAFETENSORS_SAFETENSORS_INDEX_H_
#define NARROW_FORMATS_SAFETENSORS_SAFETENSORS_INDEX_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct SafetensorsIndex {
  // Tensor and file, in the order of the index.
  std::vector<std::pair<std::string, std::string>> weight_map;
  int64_t total_size = 0;  // bytes of all tensors; 0 if unknown
};

// Files must be plain names, so that an index cannot lead out of its folder.
absl::StatusOr<SafetensorsIndex> ReadSafetensorsIndex(absl::string_view path);

std::string SafetensorsIndexText(const SafetensorsIndex& index);

// "model-00001-of-00003.safetensors" for index 0 of 3.
std::string SafetensorsShardName(size_t index, size_t n_shards);

}  // namespace narrow

#endif  // NARROW_FORMATS_SAFETENSORS_SAFETENSORS_INDEX_H_
