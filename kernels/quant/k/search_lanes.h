// The searches of scale_search.h with a sub-block in every lane.
//
// A lane performs the reference's float operations in the reference's order,
// so its result has the same bits; branches become selects, and loops that
// end early end when all lanes would. `kWays` sub-blocks a lane are searched
// side by side: the sums of one are chains of dependent additions, and a
// second chain fills the time that the first waits.
//
// Codes are held as floats (exact) while a search lasts. Where a quotient is
// known to be below 2^22, bounding it before rounding is the same as after,
// and adding and subtracting 1.5 * 2^23 rounds it; elsewhere the reference's
// integer arithmetic is kept.
//
// REQUIRES of all: finite numbers.

#ifndef NARROW_KERNELS_QUANT_K_SEARCH_LANES_H_
#define NARROW_KERNELS_QUANT_K_SEARCH_LANES_H_

#include "kernels/quant/k/super_block.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace k_lanes {

using k_quants::AffineGrid;

// Options of an affine search, as of the reference's.
template <int kSize_, int kCodeHigh_, bool kAbsoluteError_,
          bool kBoundThenRound_, int kWays_>
struct AffineOptions {
  static constexpr int kSize = kSize_;
  static constexpr int kCodeHigh = kCodeHigh_;
  static constexpr bool kAbsoluteError = kAbsoluteError_;
  static constexpr bool kBoundThenRound = kBoundThenRound_;
  static constexpr int kWays = kWays_;
};

template <int kWays>
struct CodeSums {
  F32 code[kWays];
  F32 code_square[kWays];
  F32 code_x[kWays];
};

template <class Options>
NARROW_LANE_FUNCTION void LineErrors(const F32* x, const F32* w,
                                     const F32* codes, const F32* scale,
                                     const F32* low, F32* error) {
  constexpr int kSize = Options::kSize;
  F32 sum[Options::kWays];
  for (int way = 0; way < Options::kWays; ++way) {
    sum[way] = F32{};
  }
  for (int i = 0; i < kSize; ++i) {
    for (int way = 0; way < Options::kWays; ++way) {
      const int k = way * kSize + i;
      const F32 miss = scale[way] * codes[k] + low[way] - x[k];
      sum[way] += w[k] * (Options::kAbsoluteError ? Abs(miss) : miss * miss);
    }
  }
  for (int way = 0; way < Options::kWays; ++way) {
    error[way] = sum[way];
  }
}

// Codes under `inverse` and `low`, and their sums. kWrapped: some quotient
// may be beyond 2^22 and must wrap as the reference's does.
template <class Options, bool kWrapped>
NARROW_LANE_FUNCTION void TrialCodes(const F32* x, const F32* w,
                                     const F32* inverse, const F32* low,
                                     F32* codes,
                                     CodeSums<Options::kWays>* result) {
  constexpr int kSize = Options::kSize;
  constexpr int kHigh = Options::kCodeHigh;
  CodeSums<Options::kWays> sums;
  for (int way = 0; way < Options::kWays; ++way) {
    sums.code[way] = F32{};
    sums.code_square[way] = F32{};
    sums.code_x[way] = F32{};
  }
  for (int i = 0; i < kSize; ++i) {
    for (int way = 0; way < Options::kWays; ++way) {
      const int k = way * kSize + i;
      const F32 quotient = inverse[way] * (x[k] - low[way]);
      F32 code;
      if constexpr (kWrapped) {
        code = ToFloat(ClampInt(RoundToInt(quotient), 0, kHigh));
      } else {
        code = RoundToFloat(
            Min(Max(quotient, F32{}), Splat(static_cast<float>(kHigh))));
      }
      codes[k] = code;
      const F32 weighted = w[k] * code;
      sums.code[way] += weighted;
      sums.code_square[way] += weighted * code;
      sums.code_x[way] += weighted * x[k];
    }
  }
  *result = sums;
}

// Whether `quotient` is beyond what RoundToFloat rounds, or a NaN.
NARROW_LANE_FUNCTION I32 IsWild(F32 quotient) {
  return ~(Abs(quotient) <= Splat(4194303.0f));
}

// Weighted least squares for the lines, given the codes. Where `solvable` is
// not set the lines are meaningless.
template <int kWays>
NARROW_LANE_FUNCTION void FitLines(const CodeSums<kWays>& sums,
                                   const F32* sum_w, const F32* sum_x,
                                   F32* scale, F32* low, I32* solvable) {
  for (int way = 0; way < kWays; ++way) {
    const F32 code = sums.code[way];
    const F32 code_square = sums.code_square[way];
    const F32 code_x = sums.code_x[way];
    const F32 determinant = sum_w[way] * code_square - code * code;
    solvable[way] = determinant > F32{};
    scale[way] = (sum_w[way] * code_x - sum_x[way] * code) / determinant;
    low[way] = (code_square * sum_x[way] - code * code_x) / determinant;
    const I32 above = low[way] > F32{};
    if (Any(above)) {
      low[way] = Select(above, F32{}, low[way]);
      scale[way] = Select(above, code_x / code_square, scale[way]);
    }
  }
}

// The code of a weight in an affine search's best line.
template <class Options>
NARROW_LANE_FUNCTION F32 BestCode(F32 x, F32 inverse, F32 from) {
  const F32 quotient = inverse * (x - from);
  if constexpr (Options::kBoundThenRound) {
    return RoundToFloat(Min(Max(quotient, F32{}),
                            Splat(static_cast<float>(Options::kCodeHigh))));
  } else {
    return ToFloat(ClampInt(RoundToInt(quotient), 0, Options::kCodeHigh));
  }
}

// kWays sub-blocks a lane: x and w hold kSize vectors each, one sub-block
// after the other. Gives the line of each, and what BestCode needs for its
// codes: the inverse scale and low end of the trial that led to the line.
template <class Options>
NARROW_LANE_FUNCTION void SearchAffine(const F32* x, const F32* w,
                                       const AffineGrid& grid, F32* out_scale,
                                       F32* out_low, F32* out_inverse,
                                       F32* out_from) {
  constexpr int kSize = Options::kSize;
  constexpr int kWays = Options::kWays;
  const F32 code_high = Splat(static_cast<float>(Options::kCodeHigh));
  F32 least[kWays], high[kWays], sum_w[kWays], sum_x[kWays];
  for (int way = 0; way < kWays; ++way) {
    const int k = way * kSize;
    least[way] = high[way] = x[k];
    sum_w[way] = w[k];
    sum_x[way] = w[k] * x[k];
  }
  for (int i = 1; i < kSize; ++i) {
    for (int way = 0; way < kWays; ++way) {
      const int k = way * kSize + i;
      least[way] = Min(x[k], least[way]);
      high[way] = Max(x[k], high[way]);
      sum_w[way] += w[k];
      sum_x[way] += w[k] * x[k];
    }
  }

  F32 scale[kWays], low[kWays], inverse[kWays], error[kWays];
  F32 codes[kWays * kSize];
  I32 flat[kWays];
  for (int way = 0; way < kWays; ++way) {
    low[way] = Select(least[way] > F32{}, F32{}, least[way]);
    flat[way] = high[way] == low[way];
    inverse[way] = code_high / (high[way] - low[way]);
    scale[way] = Splat(1.0f) / inverse[way];
    for (int i = 0; i < kSize; ++i) {
      const int k = way * kSize + i;
      codes[k] = ToFloat(ClampInt(RoundToInt(inverse[way] * (x[k] - low[way])),
                                  0, Options::kCodeHigh));
    }
  }
  F32 best_low[kWays];
  for (int way = 0; way < kWays; ++way) {
    best_low[way] = out_from[way] = low[way];
    // All codes are 0 if the inverse overflows, as they are in a flat lane.
    out_inverse[way] =
        Select(IsWild(inverse[way] - inverse[way]), F32{}, inverse[way]);
  }
  LineErrors<Options>(x, w, codes, scale, low, error);

  for (int k = 0; k <= grid.last; ++k) {
    const F32 steps = Splat(grid.first + grid.step * static_cast<float>(k) +
                            static_cast<float>(Options::kCodeHigh));
    I32 wild = {};
    for (int way = 0; way < kWays; ++way) {
      inverse[way] = steps / (high[way] - best_low[way]);
      if constexpr (!Options::kBoundThenRound) {
        // The quotient is monotonic in x, so its ends bound it.
        wild |= (IsWild(inverse[way] * (least[way] - best_low[way])) |
                 IsWild(inverse[way] * (high[way] - best_low[way]))) &
                ~flat[way];
      }
    }
    CodeSums<kWays> sums;
    if (!Options::kBoundThenRound && Any(wild)) {
      TrialCodes<Options, true>(x, w, inverse, best_low, codes, &sums);
    } else {
      TrialCodes<Options, false>(x, w, inverse, best_low, codes, &sums);
    }

    F32 trial_scale[kWays], trial_low[kWays], trial_error[kWays];
    I32 solvable[kWays];
    FitLines<kWays>(sums, sum_w, sum_x, trial_scale, trial_low, solvable);
    LineErrors<Options>(x, w, codes, trial_scale, trial_low, trial_error);
    for (int way = 0; way < kWays; ++way) {
      const I32 better =
          solvable[way] & (trial_error[way] < error[way]) & ~flat[way];
      out_inverse[way] = Select(better, inverse[way], out_inverse[way]);
      out_from[way] = Select(better, best_low[way], out_from[way]);
      error[way] = Select(better, trial_error[way], error[way]);
      scale[way] = Select(better, trial_scale[way], scale[way]);
      best_low[way] = Select(better, trial_low[way], best_low[way]);
    }
  }
  for (int way = 0; way < kWays; ++way) {
    out_scale[way] = Select(flat[way], F32{}, scale[way]);
    out_low[way] = best_low[way];
  }
}

// Sums over a sub-block; as the reference's.
struct ScaleSums {
  F32 code_x;
  F32 code_square;
};

NARROW_LANE_FUNCTION I32 Beats(const ScaleSums& a, const ScaleSums& b) {
  return a.code_x * a.code_x * b.code_square >
         b.code_x * b.code_x * a.code_square;
}

NARROW_LANE_FUNCTION F32 ScaleOf(const ScaleSums& sums) {
  return Select(sums.code_square > F32{}, sums.code_x / sums.code_square,
                F32{});
}

// The first number of the greatest magnitude, 0 if below the limit.
NARROW_LANE_FUNCTION F32 Peak(const F32* x, int size) {
  F32 peak = {};
  F32 magnitude = {};
  for (int i = 0; i < size; ++i) {
    const I32 greater = Abs(x[i]) > magnitude;
    magnitude = Select(greater, Abs(x[i]), magnitude);
    peak = Select(greater, x[i], peak);
  }
  return Select(magnitude < Splat(k_quants::kZeroLimit), F32{}, peak);
}

// Scales, and the inverses that gave the best codes; both 0 where x is zero.
template <int kSize, int kHalf, int kWays>
NARROW_LANE_FUNCTION void SearchSymmetric(const F32* x, const F32* w,
                                          F32* out_scale, F32* out_inverse) {
  const F32 half = Splat(static_cast<float>(kHalf));
  F32 peak[kWays], scale[kWays], best[kWays], best_inverse[kWays];
  for (int way = 0; way < kWays; ++way) {
    peak[way] = Peak(x + way * kSize, kSize);
    scale[way] = best[way] = best_inverse[way] = F32{};
  }
  F32 wx[kWays * kSize];
  for (int k = 0; k < kWays * kSize; ++k) {
    wx[k] = w[k] * x[k];
  }
  for (int trial = -1; trial <= 2 * k_quants::kSymmetricOffsets; ++trial) {
    const int offset = trial - k_quants::kSymmetricOffsets;
    if (trial >= 0 && offset == 0) {
      continue;
    }
    const float steps =
        trial < 0 ? static_cast<float>(kHalf)
                  : static_cast<float>(kHalf) +
                        k_quants::kOffsetStep * static_cast<float>(offset);
    F32 inverse[kWays], code_x[kWays], code_square[kWays];
    for (int way = 0; way < kWays; ++way) {
      inverse[way] = Splat(-steps) / peak[way];
      code_x[way] = code_square[way] = F32{};
    }
    for (int i = 0; i < kSize; ++i) {
      for (int way = 0; way < kWays; ++way) {
        const int k = way * kSize + i;
        // At most kHalf + 1 in magnitude.
        const F32 code =
            Max(Min(RoundToFloat(inverse[way] * x[k]), half - 1.0f), -half);
        code_x[way] += wx[k] * code;
        code_square[way] += w[k] * code * code;
      }
    }
    for (int way = 0; way < kWays; ++way) {
      I32 better;
      F32 trial_scale;
      if (trial < 0) {
        better = SplatInt(-1);
        trial_scale = Select(code_square[way] != F32{},
                             code_x[way] / code_square[way], F32{});
      } else {
        better = (code_square[way] > F32{}) &
                 (code_x[way] * code_x[way] > best[way] * code_square[way]);
        trial_scale = code_x[way] / code_square[way];
      }
      scale[way] = Select(better, trial_scale, scale[way]);
      best[way] = Select(better, trial_scale * code_x[way], best[way]);
      best_inverse[way] = Select(better, inverse[way], best_inverse[way]);
    }
  }
  for (int way = 0; way < kWays; ++way) {
    const I32 zero = peak[way] == F32{};
    out_scale[way] = Select(zero, F32{}, scale[way]);
    out_inverse[way] = Select(zero, F32{}, best_inverse[way]);
  }
}

// A sub-block a lane on its way through DescendSymmetric.
template <int kSize>
struct Descent {
  const F32* x;
  F32 w[kSize];
  F32 wx[kSize];
  F32 codes[kSize];
  ScaleSums sums;
  I32 alive;  // lanes that are not zero
  int sub_block;
  int n_passes;
};

template <int kSize, int kHalf>
void BeginDescent(const F32* x, int sub_block, Descent<kSize>* descent) {
  descent->x = x;
  descent->sub_block = sub_block;
  descent->n_passes = 0;
  const F32 peak = Peak(x, kSize);
  const F32 inverse = Splat(-static_cast<float>(kHalf)) / peak;
  ScaleSums sums = {F32{}, F32{}};
  for (int i = 0; i < kSize; ++i) {
    const F32 w = x[i] * x[i];
    const F32 code =
        ToFloat(ClampInt(RoundToInt(inverse * x[i]), -kHalf, kHalf - 1));
    sums.code_x += w * x[i] * code;
    sums.code_square += w * code * code;
    descent->w[i] = w;
    descent->wx[i] = w * x[i];
    descent->codes[i] = code;
  }
  descent->sums = sums;
  descent->alive = peak != F32{};
}

// One pass of each descent; `changed` gives the lanes that improved.
template <int kSize, int kHalf, int kWays>
NARROW_LANE_FUNCTION void Descend(Descent<kSize>* descents, I32* changed) {
  ScaleSums sums[kWays];
  for (int way = 0; way < kWays; ++way) {
    sums[way] = descents[way].sums;
    changed[way] = I32{};
  }
  for (int i = 0; i < kSize; ++i) {
    for (int way = 0; way < kWays; ++way) {
      Descent<kSize>& descent = descents[way];
      const F32 w = descent.w[i];
      const F32 wx = descent.wx[i];
      const F32 old_code = descent.codes[i];
      ScaleSums trial;
      trial.code_x = sums[way].code_x - wx * old_code;
      trial.code_square = sums[way].code_square - w * old_code * old_code;
      const I32 open = trial.code_x > F32{};
      const F32 code = ToFloat(
          ClampInt(RoundToInt(descent.x[i] * trial.code_square / trial.code_x),
                   -kHalf, kHalf - 1));
      trial.code_x += wx * code;
      trial.code_square += w * code * code;
      const I32 better = open & (code != old_code) &
                         (trial.code_square > F32{}) & Beats(trial, sums[way]) &
                         descent.alive;
      descent.codes[i] = Select(better, code, old_code);
      sums[way].code_x = Select(better, trial.code_x, sums[way].code_x);
      sums[way].code_square =
          Select(better, trial.code_square, sums[way].code_square);
      changed[way] |= better;
    }
  }
  for (int way = 0; way < kWays; ++way) {
    descents[way].sums = sums[way];
  }
}

// Scales alone, of `n` sub-blocks a lane. Most need one pass or two and few
// need five, so each way takes up its next sub-block when all lanes of its
// present one are done.
template <int kSize, int kHalf, int kWays>
NARROW_LANE_FUNCTION void DescendSymmetric(const F32* x, int n,
                                           F32* out_scale) {
  Descent<kSize> descents[kWays];
  int n_begun = 0;
  for (; n_begun < kWays; ++n_begun) {
    BeginDescent<kSize, kHalf>(x + n_begun * kSize, n_begun,
                               &descents[n_begun]);
  }
  for (int n_done = 0; n_done < n;) {
    I32 changed[kWays];
    Descend<kSize, kHalf, kWays>(descents, changed);
    for (int way = 0; way < kWays; ++way) {
      Descent<kSize>& descent = descents[way];
      // A pass that changes nothing would be repeated unchanged.
      const bool done =
          ++descent.n_passes == k_quants::kDescentPasses || !Any(changed[way]);
      if (!done || descent.sub_block < 0) {
        continue;
      }
      out_scale[descent.sub_block] =
          Select(descent.alive, ScaleOf(descent.sums), F32{});
      ++n_done;
      if (n_begun < n) {
        BeginDescent<kSize, kHalf>(x + n_begun * kSize, n_begun, &descent);
        ++n_begun;
      } else {
        descent.sub_block = -1;  // idle
      }
    }
  }
}

// The unit and codes modulo 256; as the reference's. kWays groups side by
// side, x[way * kSize + i]: each is a chain of operations that wait for one
// another.
template <int kSize, int kCodeHigh, int kWays = 1>
NARROW_LANE_FUNCTION void SearchUnits(const F32* x, const F32* w, I32* codes,
                                      F32* units) {
  const F32 high = Splat(static_cast<float>(kCodeHigh));
  F32 peak[kWays] = {};
  for (int i = 0; i < kSize; ++i) {
    for (int way = 0; way < kWays; ++way) {
      peak[way] = Max(peak[way], x[way * kSize + i]);
    }
  }
  I32 zero[kWays];
  F32 best_inverse[kWays], least_error[kWays] = {};
  for (int way = 0; way < kWays; ++way) {
    zero[way] = peak[way] < Splat(k_quants::kZeroLimit);
    best_inverse[way] = high / peak[way];
  }
  for (int trial = -1; trial <= 2 * k_quants::kUnitOffsets; ++trial) {
    const int offset = trial - k_quants::kUnitOffsets;
    if (trial >= 0 && offset == 0) {
      continue;
    }
    F32 inverse[kWays], unit[kWays], error[kWays] = {};
    for (int way = 0; way < kWays; ++way) {
      inverse[way] =
          trial < 0 ? best_inverse[way]
                    : Splat(k_quants::kOffsetStep * static_cast<float>(offset) +
                            static_cast<float>(kCodeHigh)) /
                          peak[way];
      unit[way] = Splat(1.0f) / inverse[way];
    }
    for (int i = 0; i < kSize; ++i) {
      for (int way = 0; way < kWays; ++way) {
        const int k = way * kSize + i;
        const I32 nearest = RoundToInt(inverse[way] * x[k]);
        const I32 code =
            trial < 0 ? nearest & 255 : MinInt(nearest, SplatInt(kCodeHigh));
        const F32 miss = x[k] - unit[way] * ToFloat(code);
        error[way] += w[k] * miss * miss;
      }
    }
    for (int way = 0; way < kWays; ++way) {
      const I32 better = trial < 0
                             ? SplatInt(-1)
                             : static_cast<I32>(error[way] < least_error[way]);
      least_error[way] = Select(better, error[way], least_error[way]);
      best_inverse[way] = Select(better, inverse[way], best_inverse[way]);
    }
  }

  ScaleSums sums[kWays] = {};
  for (int i = 0; i < kSize; ++i) {
    for (int way = 0; way < kWays; ++way) {
      const int k = way * kSize + i;
      const I32 code =
          MinInt(RoundToInt(best_inverse[way] * x[k]), SplatInt(kCodeHigh));
      codes[k] = code & 255;
      sums[way].code_x += w[k] * x[k] * ToFloat(code);
      sums[way].code_square += w[k] * ToFloat(code) * ToFloat(code);
    }
  }
  for (int pass = 0; pass < k_quants::kDescentPasses; ++pass) {
    I32 changed = {};
    for (int i = 0; i < kSize; ++i) {
      for (int way = 0; way < kWays; ++way) {
        const int k = way * kSize + i;
        const F32 old_code = ToFloat(codes[k]);
        const F32 wx = w[k] * x[k];
        ScaleSums trial;
        trial.code_x = sums[way].code_x - wx * old_code;
        trial.code_square = sums[way].code_square - w[k] * old_code * old_code;
        const I32 open = (trial.code_x > F32{}) & (trial.code_square > F32{});
        const I32 code =
            MinInt(RoundToInt(x[k] * trial.code_square / trial.code_x),
                   SplatInt(kCodeHigh));
        trial.code_x += wx * ToFloat(code);
        trial.code_square += w[k] * ToFloat(code) * ToFloat(code);
        const I32 better =
            open & (code != codes[k]) & Beats(trial, sums[way]) & ~zero[way];
        codes[k] = SelectInt(better, code & 255, codes[k]);
        sums[way].code_x = Select(better, trial.code_x, sums[way].code_x);
        sums[way].code_square =
            Select(better, trial.code_square, sums[way].code_square);
        changed |= better;
      }
    }
    if (!Any(changed)) {
      break;
    }
  }
  for (int way = 0; way < kWays; ++way) {
    for (int i = 0; i < kSize; ++i) {
      const int k = way * kSize + i;
      codes[k] = SelectInt(zero[way], SplatInt(0), codes[k]);
    }
    units[way] = Select(zero[way], F32{}, ScaleOf(sums[way]));
  }
}

}  // namespace k_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_SEARCH_LANES_H_
