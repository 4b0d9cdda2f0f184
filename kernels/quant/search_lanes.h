// The weighted searches of k/scale_search.h with a group of weights in each
// lane: SearchSymmetric, and SearchAffine over the importance grid with codes
// bounded, then rounded. Every lane gives the plain search's scale and codes
// bit for bit; codes are kept as floats inside, which holds small integers
// exactly. A trial's codes are not stored: those of the best are formed once
// more at the end, from the inverse scale it had.

#ifndef NARROW_KERNELS_QUANT_SEARCH_LANES_H_
#define NARROW_KERNELS_QUANT_SEARCH_LANES_H_

#include "kernels/quant/k/super_block.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {

NARROW_LANE_FUNCTION F32 ClampFloat(F32 value, float low, float high) {
  return Min(Max(value, Splat(low)), Splat(high));
}

// Codes -half … half - 1; the scale is 0 and the codes are -half where all
// weights are below the limit.
template <int kSize>
NARROW_LANE_FUNCTION F32 SearchSymmetric(const F32* x, const F32* w, int half,
                                         I32* codes) {
  const float low = static_cast<float>(-half);
  const float high = static_cast<float>(half - 1);
  F32 extreme = {};
  F32 magnitude = {};
  F32 wx[kSize];
  for (int i = 0; i < kSize; ++i) {
    const F32 size = Abs(x[i]);
    extreme = Select(size > magnitude, x[i], extreme);
    magnitude = Max(size, magnitude);
    wx[i] = w[i] * x[i];
  }
  F32 scale = {};
  F32 best = {};
  F32 best_inverse = {};
  // The offset 0 goes first; only others that are better replace it.
  for (int trial = 0; trial <= 2 * k_quants::kSymmetricOffsets; ++trial) {
    int offset = trial - k_quants::kSymmetricOffsets - 1;
    offset = trial == 0 ? 0 : offset < 0 ? offset : offset + 1;
    const float steps = static_cast<float>(half) +
                        k_quants::kOffsetStep * static_cast<float>(offset);
    const F32 inverse = -steps / extreme;
    F32 sum_xl = {};
    F32 sum_ll = {};
    for (int i = 0; i < kSize; ++i) {
      const F32 l = ClampFloat(RoundToFloat(inverse * x[i]), low, high);
      sum_xl += wx[i] * l;
      sum_ll += w[i] * l * l;
    }
    const F32 fitted = Select(sum_ll != 0.0f, sum_xl / sum_ll, F32{});
    I32 better = (sum_ll > 0.0f) & (sum_xl * sum_xl > best * sum_ll);
    if (trial == 0) {
      better = SplatInt(-1);
    }
    scale = Select(better, fitted, scale);
    best = Select(better, fitted * sum_xl, best);
    best_inverse = Select(better, inverse, best_inverse);
  }
  const I32 zero = magnitude < k_quants::kZeroLimit;
  for (int i = 0; i < kSize; ++i) {
    const I32 code = ClampInt(RoundToInt(best_inverse * x[i]), -half, half - 1);
    codes[i] = SelectInt(zero, SplatInt(-half), code);
  }
  return Select(zero, F32{}, scale);
}

// w-weighted squared error of a line with codes l.
template <int kSize>
NARROW_LANE_FUNCTION F32 LineError(const F32* x, const F32* w, const F32* l,
                                   F32 scale, F32 low) {
  F32 error = {};
  for (int i = 0; i < kSize; ++i) {
    const F32 miss = scale * l[i] + low - x[i];
    error += w[i] * (miss * miss);
  }
  return error;
}

// Codes 0 … code_high of the line scale * code + low, low <= 0. All are 0
// where the weights are equal and not positive.
template <int kSize>
NARROW_LANE_FUNCTION void SearchAffine(const F32* x, const F32* w,
                                       int code_high, I32* codes,
                                       F32* best_scale, F32* best_low) {
  constexpr k_quants::AffineGrid kGrid = k_quants::kImportanceGrid;
  const float top = static_cast<float>(code_high);
  F32 low = x[0];
  F32 high = x[0];
  F32 sum_w = w[0];
  F32 sum_x = w[0] * x[0];
  for (int i = 1; i < kSize; ++i) {
    low = Min(x[i], low);
    high = Max(x[i], high);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  low = Select(low > 0.0f, F32{}, low);
  const F32 first_low = low;
  const I32 flat = high <= low;

  // From the smallest to the largest weight first.
  const F32 first_inverse = top / (high - low);
  F32 scale = 1.0f / first_inverse;
  F32 l[kSize];
  for (int i = 0; i < kSize; ++i) {
    codes[i] = ClampInt(RoundToInt(first_inverse * (x[i] - low)), 0, code_high);
    l[i] = ToFloat(codes[i]);
  }
  F32 least = LineError<kSize>(x, w, l, scale, low);
  // What the best trial's codes came from.
  F32 best_inverse = {};
  F32 best_base = {};
  I32 replaced = {};
  for (int k = 0; k <= kGrid.last; ++k) {
    const float steps = kGrid.first + kGrid.step * static_cast<float>(k) + top;
    const F32 inverse = steps / (high - low);
    F32 sum_l = {};
    F32 sum_ll = {};
    F32 sum_xl = {};
    for (int i = 0; i < kSize; ++i) {
      // A NaN becomes 0.
      l[i] = RoundToFloat(ClampFloat(inverse * (x[i] - low), 0.0f, top));
      const F32 wl = w[i] * l[i];
      sum_l += wl;
      sum_ll += wl * l[i];
      sum_xl += wl * x[i];
    }
    const F32 determinant = sum_w * sum_ll - sum_l * sum_l;
    F32 trial_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    F32 trial_low = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
    const I32 above = trial_low > 0.0f;
    trial_scale = Select(above, sum_xl / sum_ll, trial_scale);
    trial_low = Select(above, F32{}, trial_low);
    const F32 error = LineError<kSize>(x, w, l, trial_scale, trial_low);
    const I32 better = (determinant > 0.0f) & (error < least);
    best_inverse = Select(better, inverse, best_inverse);
    best_base = Select(better, low, best_base);
    least = Select(better, error, least);
    scale = Select(better, trial_scale, scale);
    low = Select(better, trial_low, low);
    replaced |= better;
  }
  for (int i = 0; i < kSize; ++i) {
    const F32 code =
        RoundToFloat(ClampFloat(best_inverse * (x[i] - best_base), 0.0f, top));
    codes[i] = SelectInt(replaced, Truncate(code), codes[i]);
    codes[i] = SelectInt(flat, I32{}, codes[i]);
  }
  *best_scale = Select(flat, F32{}, scale);
  *best_low = Select(flat, first_low, low);
}

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_SEARCH_LANES_H_
