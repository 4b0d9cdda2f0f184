// What is frozen in a GGUF file. Little-endian throughout; strings are a u64
// length and that many bytes.
//
//   offset 0    u32  magic "GGUF"
//          4    u32  version, 3 (2 has the same layout)
//          8    i64  n_tensors
//         16    i64  n_keys
//         24    n_keys times:    string key, i32 value type, value
//               n_tensors times: string name, u32 n_dims, i64 dims[n_dims]
//                                (innermost first), i32 element type,
//                                u64 offset from the start of the data
//               zeros up to a multiple of the alignment
//   data        each tensor in the order above, zeros after it up to a
//               multiple of the alignment
//
// An array value is i32 element type, u64 count, elements. The alignment is
// the key general.alignment (u32, a power of two), 32 without it. A file may
// be one shard of several; see gguf_split.h. docs/gguf.md has an example.

#ifndef NARROW_FORMATS_GGUF_GGUF_FORMAT_H_
#define NARROW_FORMATS_GGUF_GGUF_FORMAT_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace narrow {

inline constexpr absl::string_view kGgufMagic = "GGUF";
inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint32_t kGgufOldestVersion = 2;
inline constexpr int64_t kGgufFixedBytes = 24;
inline constexpr int64_t kGgufDefaultAlignment = 32;
// ggml keeps a name in 64 bytes with a final zero.
inline constexpr size_t kGgufMaxNameBytes = 63;
inline constexpr size_t kGgufMaxDims = 4;

inline constexpr char kGgufAlignmentKey[] = "general.alignment";
inline constexpr char kGgufSplitNoKey[] = "split.no";        // u16, from 0
inline constexpr char kGgufSplitCountKey[] = "split.count";  // u16
inline constexpr char kGgufSplitTensorsKey[] = "split.tensors.count";  // i32

// Types of values. The alternatives of MetadataValue are in this order, the
// scalars first and then their arrays; gguf_layout.cc asserts it.
enum class GgufValueType : int32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// The next multiple of `alignment`. REQUIRES: n >= 0, no overflow.
inline int64_t PadTo(int64_t n, int64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_FORMAT_H_
