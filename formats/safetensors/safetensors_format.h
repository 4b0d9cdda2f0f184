// What is frozen in a safetensors file. Little-endian.
//
//   offset 0    u64  n = bytes of the header, at most 100 000 000
//          8    n bytes of JSON, '{' first, spaces after it allowed
//      8 + n    data
//
// The JSON object has one member a tensor, whose name is the key:
//   {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}
// with offsets from the start of the data, and perhaps "__metadata__", an
// object of strings. Tensors cover the data without hole and overlap. A
// model in several files has an index; see safetensors_index.h. An example
// is in docs/safetensors.md.

#ifndef NARROW_FORMATS_SAFETENSORS_SAFETENSORS_FORMAT_H_
#define NARROW_FORMATS_SAFETENSORS_SAFETENSORS_FORMAT_H_

#include <cstdint>

namespace narrow {

inline constexpr int64_t kSafetensorsLengthBytes = 8;
inline constexpr int64_t kSafetensorsMaxHeaderBytes = 100 * 1000 * 1000;
// Writers pad the header with spaces, so that the data are aligned.
inline constexpr int64_t kSafetensorsHeaderAlignment = 8;
inline constexpr char kSafetensorsMetadataKey[] = "__metadata__";

inline constexpr char kSafetensorsFileName[] = "model.safetensors";
inline constexpr char kSafetensorsIndexName[] = "model.safetensors.index.json";

}  // namespace narrow

#endif  // NARROW_FORMATS_SAFETENSORS_SAFETENSORS_FORMAT_H_
