// FindSplit of split_search.h with a group in every lane.
//
// The scan keeps the first split that beats all before it, by roundings of
// its own, and has 1122 (IQ1_S) or 612 (IQ1_M) candidates a group. It is
// reduced to a few that are then scanned exactly:
//
// 1. A gain that can be reached, at least nearly the greatest: the best of
//    every fourth split, improved by rounding under its scale and fitting
//    the scale, twice.
// 2. All candidates whose gain is at least (1 - kSlack) of that, by a test of
//    three operations: with X the prefix sums of w x, T their total and c the
//    highest level value, the sum of w x q is c T - X[ones] - X[twos]; the
//    sum of w q^2 is a function of `ones` plus one of `twos`. Those that pass
//    are the finalists.
// 3. Finalists in the scan's order, with its arithmetic.
//
// Why the scan of finalists ends where the whole scan does. Let u = 2^-24; a
// candidate beats the stored one if its gain is greater by a factor 1 + 10u,
// and only if it is not smaller by 1 - 10u. Among at most kMaxFinalists + 1
// gains between (1 - kSlack / 2) and 1 of the greatest some two neighbours
// are a factor above 1 + 10u apart. Call upper those above the gap. When the
// first upper one comes, both scans hold something lower, or nothing, so both
// take it. From there on both hold upper ones only, which all are finalists.
// The tests' own errors are below kSlack / 2 where the sums do not cancel,
// which is checked; other lanes are searched plainly.
//
// Tested by iq1_test against FindSplit.

#ifndef NARROW_KERNELS_QUANT_IQ1_SPLIT_LANES_H_
#define NARROW_KERNELS_QUANT_IQ1_SPLIT_LANES_H_

#include <cfloat>
#include <cstdint>

#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/sort_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq1_lanes {

using iq1::IQ1_M;
using iq1::IQ1_S;
using iq1::kDown;
using iq1::kOctet;
using iq1::kUp;

inline constexpr float kSlack = 4e-4f;
inline constexpr int kMaxFinalists = 64;
static_assert(kMaxFinalists * 2 * 10 / 16777216.0 < kSlack / 2,
              "a gap is certain");

// Pairs of places in the scan's order.
template <int kSize>
struct SplitPairs {
  static constexpr int kCount = (kSize + 1) * (kSize + 2) / 2;
  uint8_t ones[kCount];
  uint8_t twos[kCount];
  constexpr SplitPairs() : ones(), twos() {
    int n = 0;
    for (int i = 0; i <= kSize; ++i) {
      for (int j = i; j <= kSize; ++j, ++n) {
        ones[n] = static_cast<uint8_t>(i);
        twos[n] = static_cast<uint8_t>(j);
      }
    }
  }
};

// A split for each lane, levels as Split::levels by octet: numbers base 3.
template <class Type>
struct SplitLanes {
  F32 scale;
  I32 shift;
  I32 numbers[Type::kGroup / kOctet];
  I32 failed;  // lanes that must be searched plainly
};

// Sums up to each place of the sorted groups, by octet for IQ1_M.
template <class Type>
struct PrefixSums {
  static constexpr int kParts = Type::kShifts / 2;
  F32 x[kParts][Type::kGroup + 1];
  F32 w[kParts][Type::kGroup + 1];

  NARROW_LANE_FUNCTION float X(int part, int place, int lane) const {
    return reinterpret_cast<const float*>(&x[part][place])[lane];
  }
  NARROW_LANE_FUNCTION float W(int part, int place, int lane) const {
    return reinterpret_cast<const float*>(&w[part][place])[lane];
  }
};

NARROW_LANE_FUNCTION F32 FusedMultiplyAdd(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#else
  return _mm256_fmadd_ps(a, b, c);
#endif
}

// To about 12 bits.
NARROW_LANE_FUNCTION F32 RoughInverse(F32 value) {
#if defined(__AVX512F__)
  return _mm512_maskz_rcp14_ps(0xffff, value);
#else
  return _mm256_rcp_ps(value);
#endif
}

// Bit k: lane k of a is at least that of b.
NARROW_LANE_FUNCTION uint32_t AtLeastBits(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
#else
  return static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
#endif
}

// from[index[k]] of lane k.
NARROW_LANE_FUNCTION F32 GatherLanes(const F32* from, I32 index) {
  const I32 at = index * kLanes + LaneNumbers();
#if defined(__AVX512F__)
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff,
                                  reinterpret_cast<__m512i>(at), from, 4);
#else
  return _mm256_mask_i32gather_ps(
      _mm256_setzero_ps(), reinterpret_cast<const float*>(from),
      reinterpret_cast<__m256i>(at), _mm256_castsi256_ps(_mm256_set1_epi32(-1)),
      4);
#endif
}

template <class Type>
NARROW_LANE_FUNCTION void SumUp(const F32* x, const F32* w, const I32* order,
                                PrefixSums<Type>* sums) {
  for (int part = 0; part < PrefixSums<Type>::kParts; ++part) {
    sums->x[part][0] = sums->w[part][0] = F32{};
  }
  for (int r = 0; r < Type::kGroup; ++r) {
    const F32 its_w = GatherLanes(w, order[r]);
    const F32 its_wx = its_w * GatherLanes(x, order[r]);
    if constexpr (PrefixSums<Type>::kParts == 1) {
      sums->x[0][r + 1] = sums->x[0][r] + its_wx;
      sums->w[0][r + 1] = sums->w[0][r] + its_w;
    } else {
      for (int part = 0; part < 2; ++part) {
        const I32 here = (order[r] >> 3) == part;
        sums->x[part][r + 1] =
            Select(here, sums->x[part][r] + its_wx, sums->x[part][r]);
        sums->w[part][r + 1] =
            Select(here, sums->w[part][r] + its_w, sums->w[part][r]);
      }
    }
  }
}

// The approximate form of a candidate's sums, for each shift.
template <class Type>
struct Tests {
  static constexpr int kSize = Type::kGroup;
  F32 below[kSize + 1];        // X of all octets
  F32 highest[Type::kShifts];  // c T
  F32 by_ones[Type::kShifts][kSize + 1];
  F32 by_twos[Type::kShifts][kSize + 1];
  F32 sum_w;
};

template <class Type>
NARROW_LANE_FUNCTION void MakeTests(const PrefixSums<Type>& sums,
                                    Tests<Type>* tests) {
  constexpr int kSize = Type::kGroup;
  constexpr int kParts = PrefixSums<Type>::kParts;
  for (int shift = 0; shift < Type::kShifts; ++shift) {
    tests->highest[shift] = F32{};
    for (int i = 0; i <= kSize; ++i) {
      tests->by_ones[shift][i] = tests->by_twos[shift][i] = F32{};
    }
    for (int part = 0; part < kParts; ++part) {
      const float* q = Type::IsDown(shift, part) ? kDown : kUp;
      tests->highest[shift] += sums.x[part][kSize] * q[2];
      const F32 total = sums.w[part][kSize];
      for (int i = 0; i <= kSize; ++i) {
        const F32 w = sums.w[part][i];
        tests->by_ones[shift][i] += w * (q[0] * q[0] - q[1] * q[1]);
        tests->by_twos[shift][i] +=
            w * (q[1] * q[1]) + (total - w) * (q[2] * q[2]);
      }
    }
  }
  tests->sum_w = sums.w[0][kSize];
  for (int i = 0; i <= kSize; ++i) {
    tests->below[i] = sums.x[0][i];
    if (kParts == 2) {
      tests->below[i] += sums.x[kParts - 1][i];
    }
  }
  if (kParts == 2) {
    tests->sum_w += sums.w[kParts - 1][kSize];
  }
}

// The best scale and shift, nearly, of every fourth split.
template <class Type>
NARROW_LANE_FUNCTION F32 CoarseGain(const Tests<Type>& tests, F32* scale,
                                    I32* shift) {
  constexpr int kSize = Type::kGroup;
  F32 gain[Type::kShifts], its_scale[Type::kShifts];
  for (int s = 0; s < Type::kShifts; ++s) {
    gain[s] = its_scale[s] = F32{};
  }
  for (int i = 0; i <= kSize; i += 2) {
    for (int j = i; j <= kSize; j += 2) {
      for (int s = 0; s < Type::kShifts; ++s) {
        const F32 code_x = (tests.highest[s] - tests.below[i]) - tests.below[j];
        const F32 trial =
            code_x * RoughInverse(tests.by_ones[s][i] + tests.by_twos[s][j]);
        const F32 its_gain = trial * code_x;
        its_scale[s] = Select(its_gain > gain[s], trial, its_scale[s]);
        gain[s] = Max(its_gain, gain[s]);
      }
    }
  }
  F32 best = gain[0];
  *scale = its_scale[0];
  *shift = I32{};
  for (int s = 1; s < Type::kShifts; ++s) {
    const I32 better = gain[s] > best;
    best = Select(better, gain[s], best);
    *scale = Select(better, its_scale[s], *scale);
    *shift = SelectInt(better, SplatInt(s), *shift);
  }
  return best * 0.999f;
}

// The gain of rounding under `scale`, and the scale of that rounding.
template <class Type>
NARROW_LANE_FUNCTION F32 ImproveScale(const F32* x, const F32* w, I32 shift,
                                      F32* scale) {
  constexpr int kSize = Type::kGroup;
  F32 code_x = {};
  F32 code_square = {};
  for (int part = 0; part < PrefixSums<Type>::kParts; ++part) {
    const I32 down = PrefixSums<Type>::kParts == 1 || part == 1
                         ? (shift & 1) != 0
                         : (shift & 2) != 0;
    const F32 offset = Select(down, Splat(-0.125f), Splat(0.125f));
    const F32 first = *scale * (offset - 0.5f);
    const F32 second = *scale * (offset + 0.5f);
    constexpr int kPart = kSize / PrefixSums<Type>::kParts;
    for (int i = part * kPart; i < (part + 1) * kPart; ++i) {
      F32 q = Select(x[i] >= second, offset + 1.0f, offset);
      q = Select(x[i] < first, offset - 1.0f, q);
      const F32 wq = w[i] * q;
      code_x = FusedMultiplyAdd(wq, x[i], code_x);
      code_square = FusedMultiplyAdd(wq, q, code_square);
    }
  }
  *scale = code_x / code_square;
  return *scale * code_x;
}

// A scan in each lane, by scalar code.
struct Scans {
  float gain[kLanes];
  float scale[kLanes];
  int best[kLanes];  // pair * shifts + shift, or -1
  int n_finalists[kLanes];
};

NARROW_LANE_FUNCTION void ExactSums(const PrefixSums<IQ1_S>& sums, int ones,
                                    int twos, int shift, int lane,
                                    float* code_x, float* code_square) {
  constexpr int kSize = IQ1_S::kGroup;
  const float* q = shift == 0 ? kUp : kDown;
  const float low_x = sums.X(0, ones, lane);
  const float low_w = sums.W(0, ones, lane);
  const float to_x = sums.X(0, twos, lane);
  const float to_w = sums.W(0, twos, lane);
  *code_x = low_x * q[0] + (to_x - low_x) * q[1] +
            (sums.X(0, kSize, lane) - to_x) * q[2];
  *code_square = low_w * q[0] * q[0] + (to_w - low_w) * q[1] * q[1] +
                 (sums.W(0, kSize, lane) - to_w) * q[2] * q[2];
}

NARROW_LANE_FUNCTION void ExactSums(const PrefixSums<IQ1_M>& sums, int ones,
                                    int twos, int shift, int lane,
                                    float* code_x, float* code_square) {
  constexpr int kSize = IQ1_M::kGroup;
  float x[2], square[2];
  for (int part = 0; part < 2; ++part) {
    const float* q = IQ1_M::IsDown(shift, part) ? kDown : kUp;
    x[part] = sums.X(part, kSize, lane) * q[2] -
              (sums.X(part, ones, lane) + sums.X(part, twos, lane));
    square[part] = sums.W(part, kSize, lane) * q[2] * q[2] +
                   sums.W(part, ones, lane) * (q[0] * q[0] - q[1] * q[1]) +
                   sums.W(part, twos, lane) * (q[1] * q[1] - q[2] * q[2]);
  }
  *code_x = x[0] + x[1];
  *code_square = square[0] + square[1];
}

template <class Type>
NARROW_LANE_FUNCTION void TryFinalist(const PrefixSums<Type>& sums,
                                      int candidate, int lane, Scans* scans) {
  static constexpr SplitPairs<Type::kGroup> kPairs;
  const int pair = candidate / Type::kShifts;
  float code_x, code_square;
  ExactSums(sums, kPairs.ones[pair], kPairs.twos[pair],
            candidate % Type::kShifts, lane, &code_x, &code_square);
  ++scans->n_finalists[lane];
  if (code_square > 0 && code_x * code_x > scans->gain[lane] * code_square) {
    scans->scale[lane] = code_x / code_square;
    scans->gain[lane] = scans->scale[lane] * code_x;
    scans->best[lane] = candidate;
  }
}

// Words of candidates' bits with some bit set: bit k for word k of `n`.
NARROW_LANE_FUNCTION uint32_t SetWords(const uint16_t* words) {
#if defined(__AVX512F__)
  const __m512i all = _mm512_loadu_si512(words);
  return _mm512_test_epi16_mask(all, all);
#else
  const __m256i zero = _mm256_setzero_si256();
  const __m256i low = _mm256_cmpeq_epi16(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)), zero);
  const __m256i high = _mm256_cmpeq_epi16(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 16)), zero);
  const __m256i both =
      _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(both));
#endif
}

// Finds the finalists of the lanes in `live` and scans them.
template <class Type>
NARROW_LANE_FUNCTION void ScanFinalists(const PrefixSums<Type>& sums,
                                        const Tests<Type>& tests, F32 threshold,
                                        uint32_t live, Scans* scans) {
  constexpr int kSize = Type::kGroup;
  constexpr int kShifts = Type::kShifts;
  constexpr int kCount = SplitPairs<kSize>::kCount * kShifts;
  F32 by_twos[kShifts][kSize + 1];
  for (int s = 0; s < kShifts; ++s) {
    for (int j = 0; j <= kSize; ++j) {
      by_twos[s][j] = threshold * tests.by_twos[s][j];
    }
  }
  uint16_t passed[kCount + 32];
  uint16_t* at = passed;
  for (int i = 0; i <= kSize; ++i) {
    F32 from[kShifts], by_ones[kShifts];
    for (int s = 0; s < kShifts; ++s) {
      from[s] = tests.highest[s] - tests.below[i];
      by_ones[s] = -(threshold * tests.by_ones[s][i]);
    }
    for (int j = i; j <= kSize; ++j, at += kShifts) {
      for (int s = 0; s < kShifts; ++s) {
        const F32 code_x = from[s] - tests.below[j];
        at[s] = static_cast<uint16_t>(AtLeastBits(
            FusedMultiplyAdd(code_x, code_x, by_ones[s]), by_twos[s][j]));
      }
    }
  }
  __builtin_memset(at, 0, 32 * sizeof(*at));

  for (int k = 0; k < kLanes; ++k) {
    scans->gain[k] = -FLT_MAX;
    scans->best[k] = -1;
    scans->n_finalists[k] = 0;
  }
  for (int first = 0; first < kCount; first += 32) {
    for (uint32_t words = SetWords(passed + first); words != 0;
         words &= words - 1) {
      const int candidate = first + __builtin_ctz(words);
      for (uint32_t lanes = passed[candidate] & live; lanes != 0;
           lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        if (scans->n_finalists[lane] < kMaxFinalists) {
          TryFinalist<Type>(sums, candidate, lane, scans);
        }
      }
    }
  }
}

// Levels from the places where they begin.
template <class Type>
NARROW_LANE_FUNCTION void NumberLevels(const I32* order, I32 ones, I32 twos,
                                       I32* numbers) {
  constexpr int kWords = Type::kGroup / kOctet / 2;
  // 3^0 … 3^7 as bits of floats, which Lookup8 moves untouched.
  constexpr int32_t kPowers[16] = {1, 3, 9, 27, 81, 243, 729, 2187,
                                   1, 3, 9, 27, 81, 243, 729, 2187};
  const F32 powers = AsFloat(LoadInts(kPowers));
  I32 words[kWords] = {};  // two octets each
  for (int r = 0; r < Type::kGroup; ++r) {
    const I32 power = AsInt(Lookup8(powers, order[r])) << ((order[r] & 8) << 1);
    const I32 times = (power & (ones <= r)) + (power & (twos <= r));
    for (int k = 0; k < kWords; ++k) {
      words[k] += kWords == 1 ? times : times & ((order[r] >> 4) == k);
    }
  }
  for (int k = 0; k < kWords; ++k) {
    numbers[2 * k] = words[k] & 0xffff;
    numbers[2 * k + 1] = (words[k] >> 16) & 0xffff;
  }
}

// x, w: [kGroup]. REQUIRES: finite numbers, w not negative.
template <class Type>
NARROW_LANE_FUNCTION void FindSplits(const F32* x, const F32* w,
                                     SplitLanes<Type>* split) {
  constexpr int kSize = Type::kGroup;
  constexpr int kShifts = Type::kShifts;
  I32 order[kSize];
  SortGroups<kSize>(x, order);
  PrefixSums<Type> sums;
  SumUp<Type>(x, w, order, &sums);
  Tests<Type> tests;
  MakeTests<Type>(sums, &tests);

  F32 scale;
  I32 shift;
  F32 gain = CoarseGain<Type>(tests, &scale, &shift);
  for (int k = 0; k < 2; ++k) {
    // (A NaN loses.)
    gain = Max(ImproveScale<Type>(x, w, shift, &scale), gain);
  }
  F32 magnitude = {};
  for (int i = 0; i < kSize; ++i) {
    magnitude += Abs(w[i] * x[i]);
  }
  // A finalist's sum of w x q is at least a tenth of `magnitude`, for its
  // square is its gain times a sum of at least sum_w / 64. And no step of the
  // scan is beyond the range of normal numbers.
  const F32 size = gain * tests.sum_w;
  const I32 sound = (size >= 0.64f * magnitude * magnitude) &
                    (size >= Splat(1e-28f)) & (size <= Splat(1e28f)) &
                    (gain >= Splat(1e-28f)) & (gain <= Splat(1e28f)) &
                    (tests.sum_w >= Splat(1e-28f)) &
                    (tests.sum_w <= Splat(1e28f));
  Scans scans;
  ScanFinalists<Type>(sums, tests, gain * (1 - kSlack), LaneBits(sound),
                      &scans);

  static constexpr SplitPairs<kSize> kPairs;
  int32_t ones[kLanes], twos[kLanes], shifts[kLanes], failed[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    failed[k] = -(scans.n_finalists[k] == kMaxFinalists || scans.best[k] < 0);
    const int best = failed[k] ? 0 : scans.best[k];
    ones[k] = kPairs.ones[best / kShifts];
    twos[k] = kPairs.twos[best / kShifts];
    shifts[k] = best % kShifts;
  }
  split->failed = LoadInts(failed);
  split->shift = LoadInts(shifts);
  split->scale = Load(scans.scale);
  NumberLevels<Type>(order, LoadInts(ones), LoadInts(twos), split->numbers);
  // Negative scales become positive by turning all signs.
  const I32 turn = split->scale < F32{};
  split->scale = Select(turn, -split->scale, split->scale);
  split->shift = SelectInt(turn, kShifts - 1 - split->shift, split->shift);
  for (int o = 0; o < kSize / kOctet; ++o) {
    split->numbers[o] =
        SelectInt(turn, 6560 - split->numbers[o], split->numbers[o]);
  }
}

}  // namespace iq1_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_SPLIT_LANES_H_
