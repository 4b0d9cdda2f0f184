// Float32 numbers compressed without loss, for activations that do not fit
// memory.
//
//   std::vector<uint8_t> bytes;
//   CompressFloats(values, n, &bytes);
//   RETURN_IF_ERROR(DecompressFloats(bytes, n, values));
//
// The four bytes of the numbers are stored apart, all highest ones first:
// signs and exponents of activations repeat, mantissas do not. Then zstd at
// its fastest level. Every bit pattern comes back, NaNs too. Safe from any
// thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STORE_FLOAT_COMPRESSION_H_
#define NARROW_CALIBRATION_BLOCKWISE_STORE_FLOAT_COMPRESSION_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace narrow {

// No compressed form of n numbers is larger.
int64_t MaxCompressedBytes(int64_t n);

// `out` is replaced.
void CompressFloats(const float* values, int64_t n, std::vector<uint8_t>* out);

// DataLoss unless `bytes` hold exactly n numbers.
absl::Status DecompressFloats(absl::Span<const uint8_t> bytes, int64_t n,
                              float* values);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STORE_FLOAT_COMPRESSION_H_
