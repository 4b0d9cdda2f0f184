// Tested by: hidden_store_test.

#include "calibration/blockwise/store/float_compression.h"

#include <zstd.h>

#include <cassert>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

constexpr int kLevel = 1;

// Byte b of number i at planes[(3 - b) * n + i].
void ToPlanes(const float* values, int64_t n, uint8_t* planes) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    planes[i] = static_cast<uint8_t>(bits >> 24);
    planes[n + i] = static_cast<uint8_t>(bits >> 16);
    planes[2 * n + i] = static_cast<uint8_t>(bits >> 8);
    planes[3 * n + i] = static_cast<uint8_t>(bits);
  }
}

void FromPlanes(const uint8_t* planes, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = uint32_t{planes[i]} << 24 |
                          uint32_t{planes[n + i]} << 16 |
                          uint32_t{planes[2 * n + i]} << 8 | planes[3 * n + i];
    std::memcpy(values + i, &bits, sizeof(bits));
  }
}

size_t PlaneBytes(int64_t n) { return static_cast<size_t>(n) * sizeof(float); }

}  // namespace

int64_t MaxCompressedBytes(int64_t n) {
  return static_cast<int64_t>(ZSTD_compressBound(PlaneBytes(n)));
}

void CompressFloats(const float* values, int64_t n, std::vector<uint8_t>* out) {
  std::vector<uint8_t> planes(PlaneBytes(n));
  ToPlanes(values, n, planes.data());
  out->resize(static_cast<size_t>(MaxCompressedBytes(n)));
  const size_t n_bytes = ZSTD_compress(out->data(), out->size(), planes.data(),
                                       planes.size(), kLevel);
  // With a buffer of the bound's size only memory can be lacking.
  assert(!ZSTD_isError(n_bytes));
  out->resize(n_bytes);
}

absl::Status DecompressFloats(absl::Span<const uint8_t> bytes, int64_t n,
                              float* values) {
  std::vector<uint8_t> planes(PlaneBytes(n));
  const size_t n_bytes =
      ZSTD_decompress(planes.data(), planes.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(n_bytes)) {
    return absl::DataLossError(
        absl::StrCat("compressed activations: ", ZSTD_getErrorName(n_bytes)));
  }
  if (n_bytes != planes.size()) {
    return absl::DataLossError(absl::StrCat("compressed activations: ", n_bytes,
                                            " bytes instead of ",
                                            planes.size()));
  }
  FromPlanes(planes.data(), n, values);
  return absl::OkStatus();
}

}  // namespace narrow
