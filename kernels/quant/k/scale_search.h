// The searches for scales behind ggml's k-quants, in plain code.
//
// Each follows ggml's result bit for bit, so the order of float operations
// is part of the definition: sums run from the first weight to the last, in
// float, and a product of three factors is formed from the left. Source:
// ggml 0.27, whose functions are named at each search.
//
// The SIMD searches (search_lanes.h) are tested against these.

#ifndef NARROW_KERNELS_QUANT_K_SCALE_SEARCH_H_
#define NARROW_KERNELS_QUANT_K_SCALE_SEARCH_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/quant/k/super_block.h"

namespace narrow {
namespace k_quants {

inline int Bounded(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

// value = scale * code + low, low <= 0.
struct AffineLine {
  float scale;
  float low;
};

// How a search maps a weight to a code when the quotient is outside the
// codes' range: first rounded, then bounded (make_qkx2_quants), or first
// bounded, NaN becoming 0 (make_qkx3_quants). They differ when the range of
// weights is tiny beside their distance to the line.
enum class CodeRule { kRoundThenBound, kBoundThenRound };

// The line and codes 0 … `code_high` of least weighted error: squared, or
// absolute.
AffineLine SearchAffine(absl::Span<const float> x, const float* weights,
                        int code_high, const AffineGrid& grid,
                        bool absolute_error, CodeRule rule, int8_t* codes);

// The scale and codes -`half` … `half` - 1 of least squared error
// (make_qx_quants). `weights` nullptr: x². All codes are -`half` when x is
// zero.
float SearchSymmetric(absl::Span<const float> x, const float* weights, int half,
                      int8_t* codes);

// The same aim with weights x², by moving single codes while the error falls
// (make_q3_quants).
float DescendSymmetric(absl::Span<const float> x, int half, int8_t* codes);

// The unit and codes 0 … `code_high` for numbers meant to be non-negative
// (make_qp_quants). A negative one ends as a code modulo 256.
float SearchUnit(absl::Span<const float> x, const float* weights, int code_high,
                 uint8_t* codes);

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_SCALE_SEARCH_H_
