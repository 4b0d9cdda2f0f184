// How fast the kernels of a forward pass are on a device, each against its
// limit: operations on tensor cores, or bytes of memory.

#ifndef NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/device_bench/bench.h"

namespace narrow {

// By default those of a Llama-3-8B block, and experts as Qwen3-30B-A3B has.
struct ForwardSizes {
  int64_t n_tokens = 8192;
  int64_t sequence = 2048;
  int64_t width = 4096;
  int64_t n_heads = 32;
  int64_t n_kv_heads = 8;
  int64_t vocab = 32768;  // a slice
  int64_t n_experts = 128;
  int64_t n_used = 8;
  int64_t expert_width = 768;
  // Of the model as a whole.
  int64_t n_layers = 32;
  int64_t inner = 14336;
  int64_t full_vocab = 128256;
  int64_t slice = 8192;  // of it, whose logits are there at a time
};

// Prints a line for each. Seconds that a token takes in all blocks.
absl::StatusOr<double> BenchForward(const Device& device,
                                    const ForwardSizes& sizes,
                                    BenchSummary* summary);

// Its parts: products, alone and of experts, and Gram matrices; attention;
// passes over rows, and back; weights of packed files; a block and logits, as
// BenchForward returns it.
absl::Status BenchProducts(const ForwardSizes& sizes, Bench* bench);
absl::Status BenchAttention(const ForwardSizes& sizes, Bench* bench);
absl::Status BenchRows(const ForwardSizes& sizes, Bench* bench);
absl::Status BenchGradients(const ForwardSizes& sizes, Bench* bench);
absl::Status BenchPieces(const ForwardSizes& sizes, Bench* bench);
absl::StatusOr<double> BenchModel(const ForwardSizes& sizes, Bench* bench);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_
