// Tokens to their experts and back, a thread a number.
//
// A mixture's rows lie expert after expert (matmul/device/row_groups.h): row r
// is of token tokens[r]. A token's rows, in the order of their experts, are
// rows[token * n_used ...], and count weights[...] times.

#ifndef NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_THREADS_H_
#define NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_THREADS_H_

#include <cstdint>

#include "kernels/warp/fragments.h"

namespace narrow {
namespace expert_threads {

// out[r] = x[tokens[r]], by rows of n numbers.
struct GatherTask {
  const float* x;
  const int32_t* tokens;  // [n_rows]
  int64_t n_rows;
  int64_t n;
  // Either may be nullptr.
  float* floats;
  uint16_t* halves;  // bfloat16

  NARROW_WARP_FUNCTION int64_t n_numbers() const { return n_rows * n; }
  NARROW_WARP_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / n;
    const float value = x[tokens[row] * n + (i - row * n)];
    if (floats != nullptr) {
      floats[i] = value;
    }
    if (halves != nullptr) {
      halves[i] = static_cast<uint16_t>(warp::RoundToBf16(value));
    }
  }
};

// out[t] = sum over a token's rows of weight * x[row], in their order from 0,
// each product and sum rounded to float32; added to out[t] if `accumulate`.
struct CombineTask {
  const float* x;        // [rows of all experts, n]
  const int32_t* rows;   // [n_tokens, n_used]
  const float* weights;  // likewise
  int64_t n_tokens;
  int64_t n_used;
  int64_t n;
  bool accumulate;
  float* out;  // [n_tokens, n]

  NARROW_WARP_FUNCTION int64_t n_numbers() const { return n_tokens * n; }
  NARROW_WARP_FUNCTION void Run(int64_t i) const {
    const int64_t token = i / n;
    const int64_t col = i - token * n;
    float sum = 0;
    for (int64_t k = token * n_used; k < (token + 1) * n_used; ++k) {
      const float part = weights[k] * x[rows[k] * n + col];
      sum = sum + part;
    }
    out[i] = accumulate ? out[i] + sum : sum;
  }
};

}  // namespace expert_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_THREADS_H_
