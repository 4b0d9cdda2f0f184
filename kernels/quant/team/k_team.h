// The k-quants: a thread a sub-block, by search_lanes.h.
//
// First every thread searches the scale (and minimum) of its sub-block; then
// all of them quantize these numbers, each for itself, round their sub-blocks
// under what is stored, and pack a share of the bytes.

#ifndef NARROW_KERNELS_QUANT_TEAM_K_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_K_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/k/search_lanes.h"
#include "kernels/quant/team/k_bytes.h"

namespace narrow {
namespace team {

using k_quants::kSuperBlock;
using k_quants::PlainWeight;
using k_quants::Q2_K;
using k_quants::Q3_K;
using k_quants::Q4_K;
using k_quants::Q5_K;
using k_quants::Q6_K;

// What a team of any k-quant shares.
struct KShared {
  F32 scales[16];
  F32 mins[16];
  F32 sums[16];  // of the sub-blocks' weights in their searches
  // From 0. First those of the searches, where they are not found again later.
  alignas(8) uint8_t codes[kSuperBlock];
};

// Rounds sub-block g, at `x`, under its stored scale. Where that is zero, the
// codes of the search stay: code(i) gives them.
template <int kSize, int kLow, int kHigh, class SearchCode>
NARROW_LANE_FUNCTION void RoundSubBlock(const F32* x, F32 scale, F32 low,
                                        const SearchCode& code,
                                        uint8_t* codes) {
  if (scale.v == 0) {
    for (int i = 0; i < kSize; ++i) {
      codes[i] = static_cast<uint8_t>(code(i).v - kLow);
    }
    return;
  }
  for (int i = 0; i < kSize; ++i) {
    const I32 nearest = ClampInt(RoundToInt((x[i] + low) / scale), kLow, kHigh);
    codes[i] = static_cast<uint8_t>(nearest.v - kLow);
  }
}

// Q2_K, Q4_K, Q5_K.
template <class Type, bool kImportance>
struct AffineTeam {
  static constexpr int kSize = Type::kSubBlock;
  static constexpr int kThreads = kSuperBlock / kSize;
  static constexpr int kBlock = kSuperBlock;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 3;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  using Options =
      k_lanes::AffineOptions<kSize, Type::kCodeHigh,
                             !kImportance && Type::kPlainAbsoluteError,
                             kImportance, /*kWays=*/1>;
  using Shared = KShared;
  struct State {
    F32 x[kSize];
    F32 inverse;
    F32 from;
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      Search(in, thread, state, shared);
    } else if constexpr (kPhase == 1) {
      RoundAll(in, thread, *state, shared);
    } else {
      PackCodesShare<kThreads>(Type(), shared->codes, thread, in.bytes);
    }
  }

 private:
  template <class Input>
  NARROW_LANE_FUNCTION static void Weigh(const Input& in, int thread,
                                         const F32* x, F32* w, F32* sum) {
    *sum = F32{};
    if constexpr (kImportance) {
      const F32 variance = Type::kVarianceFactor *
                           in.SumOfSquares(kSuperBlock) /
                           static_cast<float>(kSuperBlock);
      in.template LoadImportance<kSize>(thread * kSize, w);
      for (int i = 0; i < kSize; ++i) {
        w[i] = w[i] * Sqrt(variance + x[i] * x[i]);
        *sum += w[i];
      }
    } else {
      F32 rms = {};
      if constexpr (Type::kPlainWeight == PlainWeight::kMagnitudeAndRms) {
        F32 squares = {};
        for (int i = 0; i < kSize; ++i) {
          squares += x[i] * x[i];
        }
        rms = Sqrt(squares / static_cast<float>(kSize));
      }
      for (int i = 0; i < kSize; ++i) {
        w[i] = rms + Abs(x[i]);
      }
    }
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void Search(const Input& in, int thread,
                                          State* state, Shared* shared) {
    F32 w[kSize];
    F32 scale, low, sum;
    in.template Load<kSize>(thread * kSize, state->x);
    Weigh(in, thread, state->x, w, &sum);
    constexpr k_quants::AffineGrid kGrid =
        kImportance ? k_quants::kImportanceGrid : Type::kPlainGrid;
    const k_quants::AffineGrid grid = {kGrid.first, kGrid.step, kGrid.last};
    k_lanes::SearchAffine<Options>(state->x, w, grid, &scale, &low,
                                   &state->inverse, &state->from);
    shared->scales[thread] = scale;
    shared->mins[thread] = -low;
    shared->sums[thread] = sum;
  }

  // The unit, and the integers of all sub-blocks.
  NARROW_LANE_FUNCTION static F32 Quantize(const F32* shared_numbers,
                                           const F32* shared_sums,
                                           I32* integers) {
    F32 numbers[kThreads];
    for (int g = 0; g < kThreads; ++g) {
      numbers[g] = shared_numbers[g];
    }
    if constexpr (kImportance) {
      F32 sums[kThreads];
      for (int g = 0; g < kThreads; ++g) {
        sums[g] = shared_sums[g];
      }
      F32 unit;
      k_lanes::SearchUnits<kThreads, Type::kScaleHigh>(numbers, sums, integers,
                                                       &unit);
      for (int g = 0; g < kThreads && Type::kBoundImportanceScales; ++g) {
        integers[g] = MinInt(integers[g], Type::kScaleHigh);
      }
      return unit;
    }
    F32 largest = {};
    for (int g = 0; g < kThreads; ++g) {
      largest = Max(numbers[g], largest);
    }
    const F32 high = static_cast<float>(Type::kScaleHigh);
    const F32 inverse = Select(largest > F32{}, high / largest, F32{});
    for (int g = 0; g < kThreads; ++g) {
      const I32 nearest = RoundToInt(inverse * numbers[g]) & 255;
      integers[g] =
          Type::kBoundPlainScales ? MinInt(nearest, Type::kScaleHigh) : nearest;
    }
    return largest / high;
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void RoundAll(const Input& in, int thread,
                                            const State& state,
                                            Shared* shared) {
    SubScaleBytes<Type> stored;
    {
      I32 scales[kThreads];
      I32 mins[kThreads];
      stored.d = Quantize(shared->scales, shared->sums, scales);
      stored.dmin = Quantize(shared->mins, shared->sums, mins);
      stored.Pack(scales, mins);
    }
    if (thread == 0) {
      stored.Store(in);
    }
    const F32 d = FloatFromF16(F16FromFloat(stored.d));
    const F32 dmin = FloatFromF16(F16FromFloat(stored.dmin));
    RoundSubBlock<kSize, 0, Type::kCodeHigh>(
        state.x, d * ToFloat(stored.Scale(thread)),
        dmin * ToFloat(stored.Min(thread)),
        [&](int i) {
          return RoundToInt(k_lanes::BestCode<Options>(
              state.x[i], state.inverse, state.from));
        },
        shared->codes + thread * kSize);
  }
};

// Q3_K and Q6_K.
template <class Type, bool kImportance>
struct SymmetricTeam {
  static constexpr int kSize = 16;
  static constexpr int kThreads = 16;
  static constexpr int kBlock = kSuperBlock;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 3;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  static constexpr int kHalf = Type::kCodeHalf;
  static constexpr bool kIsQ6 = kHalf == 32;
  using Shared = KShared;
  struct State {
    F32 x[kSize];
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      in.template Load<kSize>(thread * kSize, state->x);
      uint8_t* codes = shared->codes + thread * kSize;
      if constexpr (kImportance || kIsQ6) {
        Search(in, thread, state->x, shared, codes);
      } else {
        Descend(thread, state->x, shared, codes);
      }
    } else if constexpr (kPhase == 1) {
      RoundAll(in, thread, *state, shared);
    } else {
      PackCodesShare<kThreads>(Type(), shared->codes, thread, in.bytes);
    }
  }

 private:
  template <class Input>
  NARROW_LANE_FUNCTION static void Search(const Input& in, int thread,
                                          const F32* x, Shared* shared,
                                          uint8_t* codes) {
    F32 w[kSize];
    F32 sum = {};
    if constexpr (!kImportance) {
      for (int i = 0; i < kSize; ++i) {
        w[i] = x[i] * x[i];
      }
    } else if constexpr (kIsQ6) {
      in.template LoadImportance<kSize>(thread * kSize, w);
    } else {
      const F32 variance =
          2.0f * in.SumOfSquares(kSuperBlock) / static_cast<float>(kSuperBlock);
      in.template LoadImportance<kSize>(thread * kSize, w);
      for (int i = 0; i < kSize; ++i) {
        w[i] = w[i] * Sqrt(variance + x[i] * x[i]);
        sum += w[i];
      }
    }
    F32 scale, inverse;
    k_lanes::SearchSymmetric<kSize, kHalf, 1>(x, w, &scale, &inverse);
    shared->scales[thread] = scale;
    shared->sums[thread] = sum;
    for (int i = 0; i < kSize; ++i) {
      const I32 code =
          SelectInt(inverse == F32{}, -kHalf,
                    ClampInt(RoundToInt(inverse * x[i]), -kHalf, kHalf - 1));
      codes[i] = static_cast<uint8_t>(code.v + kHalf);
    }
  }

  NARROW_LANE_FUNCTION static void Descend(int thread, const F32* x,
                                           Shared* shared, uint8_t* codes) {
    k_lanes::Descent<kSize> descent;
    BeginDescent(x, &descent);
    for (int pass = 0; pass < k_quants::kDescentPasses; ++pass) {
      I32 changed;
      k_lanes::Descend<kSize, kHalf, 1>(&descent, &changed);
      if (!Any(changed)) {
        break;
      }
    }
    shared->scales[thread] =
        Select(descent.alive, k_lanes::ScaleOf(descent.sums), F32{});
    for (int i = 0; i < kSize; ++i) {
      const F32 code =
          Select(descent.alive, descent.codes[i], static_cast<float>(-kHalf));
      codes[i] = static_cast<uint8_t>(static_cast<int>(code.v) + kHalf);
    }
  }

  // As k_lanes::BeginDescent, which is not for a card's threads.
  NARROW_LANE_FUNCTION static void BeginDescent(
      const F32* x, k_lanes::Descent<kSize>* descent) {
    const F32 peak = k_lanes::Peak(x, kSize);
    const F32 inverse = static_cast<float>(-kHalf) / peak;
    k_lanes::ScaleSums sums = {F32{}, F32{}};
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
    descent->x = x;
    descent->sums = sums;
    descent->alive = peak != F32{};
  }

  // The integers of all sub-blocks; false: all codes are the lowest.
  NARROW_LANE_FUNCTION static bool Quantize(const Shared& shared, F32* d,
                                            I32* integers) {
    F32 scales[kThreads];
    F32 largest = {};
    for (int g = 0; g < kThreads; ++g) {
      scales[g] = shared.scales[g];
      largest = Select(Abs(scales[g]) > Abs(largest), scales[g], largest);
    }
    const F32 low = static_cast<float>(Type::kScaleLow);
    if constexpr (!kIsQ6 && kImportance) {
      // The scales are numbers to quantize like any others.
      F32 sums[kThreads];
      for (int g = 0; g < kThreads; ++g) {
        sums[g] = shared.sums[g];
      }
      F32 inverse;
      k_lanes::SearchSymmetric<kThreads, -Type::kScaleLow, 1>(scales, sums, d,
                                                              &inverse);
      for (int g = 0; g < kThreads; ++g) {
        integers[g] = SelectInt(inverse == F32{}, Type::kScaleLow,
                                ClampInt(RoundToInt(inverse * scales[g]),
                                         Type::kScaleLow, Type::kScaleHigh));
      }
      return true;
    }
    const bool is_zero =
        kIsQ6 ? Abs(largest).v < k_quants::kZeroLimit : largest.v == 0;
    const F32 inverse = low / largest;
    *d = is_zero ? F32{} : 1.0f / inverse;
    for (int g = 0; g < kThreads; ++g) {
      const I32 nearest = RoundToInt(inverse * scales[g]);
      const I32 integer = kIsQ6
                              ? (MinInt(nearest, Type::kScaleHigh) << 24) >> 24
                              : ClampInt((nearest << 24) >> 24, Type::kScaleLow,
                                         Type::kScaleHigh);
      integers[g] = is_zero ? I32(kIsQ6 ? 0 : Type::kScaleLow) : integer;
    }
    return !(kIsQ6 && is_zero);
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void RoundAll(const Input& in, int thread,
                                            const State& state,
                                            Shared* shared) {
    SubScaleBytes<Type> stored;
    bool has_codes;
    {
      I32 scales[kThreads];
      has_codes = Quantize(*shared, &stored.d, scales);
      stored.Pack(scales);
    }
    if (thread == 0) {
      stored.Store(in);
    }
    uint8_t* codes = shared->codes + thread * kSize;
    const F32 d = FloatFromF16(F16FromFloat(stored.d));
    RoundSubBlock<kSize, -kHalf, kHalf - 1>(
        state.x, d * ToFloat(stored.Scale(thread)), F32{},
        [&](int i) {
          return has_codes ? I32(static_cast<int>(codes[i]) - kHalf)
                           : I32(-kHalf);
        },
        codes);
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_K_TEAM_H_
