// How fast a device encodes and decodes, against what its memory allows.

#ifndef NARROW_KERNELS_DEVICE_BENCH_ENCODE_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_ENCODE_BENCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/device_bench/summary.h"

namespace narrow {

// Prints a line for each type, decoded, encoded without importance and with
// it: GB/s of bfloat16 weights that lie on the device before or after, and
// what part that is of the time in which its memory copies as many bytes. About
// `n_weights` of them.
absl::Status BenchEncode(const Device& device, int64_t n_weights,
                         BenchSummary* summary);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_ENCODE_BENCH_H_
