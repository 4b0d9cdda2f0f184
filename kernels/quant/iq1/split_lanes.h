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
//    two operations: with X the prefix sums of w x, T their total and c the
//    highest level value, the sum of w x q is c T - X[ones] - X[twos]; the
//    sum of w q^2 is a function of `ones` plus one of `twos`. Those that pass
//    are the finalists.
// 3. Finalists in the scan's order, with its arithmetic.
//
// Why the scan of finalists ends where the whole scan does. Let u = 2^-24. A
// candidate surely beats the stored one if its gain is greater by a factor of
// 1 + 5u, and only if it is not less by 1 - 5u. Of at most kMaxFinalists gains
// between 1 - kSlack and 1 of the greatest, or one of these ends, some two
// neighbours are a factor of 1 + 5u apart. Call upper
// those above the gap. When the first upper one comes, both scans hold
// something lower, or nothing, so both take it. From there on both hold upper
// ones only, and all of these are finalists.
//
// Steps 1 and 2 compute the sums otherwise than the scan, so LeastGain and
// ScanFinalists take off what that may make. With m the sum of |w x|, sums of
// w x q are at most 1.125 m and those of w q^2 at most 1.27 times the sum of
// w. The scan's are 14u m and, where it subtracts, 8u times the sum of w off
// those of step 2, and 38u m and 33u of themselves, beside these 8u, off those
// of step 1. Lanes in which a finalist's sum of w x q may be less than a tenth
// of m are searched plainly.
//
// Tested by codec_test and iq1_test against the plain encoder.

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

inline constexpr int kMaxFinalists = 150;

// u.
inline constexpr float kRounding = 1 / 16777216.0f;
// Of the greatest gain.
inline constexpr float kSlack = (kMaxFinalists + 5) * 5 * kRounding;

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

// A split for each lane; the levels of an octet have two bits each, the first
// lowest.
template <class Type>
struct SplitLanes {
  F32 scale;
  I32 shift;
  I32 levels[Type::kGroup / kOctet];
  I32 none;    // lanes without a split
  I32 failed;  // lanes that must be searched plainly
};

// Sums up to each place of the sorted groups, by octet for IQ1_M.
template <class Type>
struct PrefixSums {
  static constexpr int kParts = Type::kShifts / 2;
  F32 x[kParts][Type::kGroup + 1];
  F32 w[kParts][Type::kGroup + 1];
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

// Bit k: lane k of `a` is at least that of `b`.
NARROW_LANE_FUNCTION uint32_t AtLeastBits(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
#else
  return static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
#endif
}

// Whether any lane of any a[k] is at least that of b[k].
template <int kVectors>
NARROW_LANE_FUNCTION bool AnyAtLeast(const F32* a, const F32* b) {
#if defined(__AVX512F__)
  // A compare that begins with a mask costs no more.
  __mmask16 less = 0xffff;
  for (int k = 0; k < kVectors; ++k) {
    less = _mm512_mask_cmp_ps_mask(less, a[k], b[k], _CMP_NGE_UQ);
  }
  return less != 0xffff;
#else
  __m256 at_least = _mm256_cmp_ps(a[0], b[0], _CMP_GE_OQ);
  for (int k = 1; k < kVectors; ++k) {
    at_least = _mm256_or_ps(at_least, _mm256_cmp_ps(a[k], b[k], _CMP_GE_OQ));
  }
  return _mm256_movemask_ps(at_least) != 0;
#endif
}

// Lane k is that of the vector index[k] of those at `from`.
NARROW_LANE_FUNCTION F32 GatherLanes(const float* from, I32 index) {
  const I32 at = index * kLanes + LaneNumbers();
#if defined(__AVX512F__)
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff,
                                  reinterpret_cast<__m512i>(at), from, 4);
#else
  return _mm256_mask_i32gather_ps(
      _mm256_setzero_ps(), from, reinterpret_cast<__m256i>(at),
      _mm256_castsi256_ps(_mm256_set1_epi32(-1)), 4);
#endif
}

template <class Type>
NARROW_LANE_FUNCTION void SumUp(const F32* sorted_x, const F32* w,
                                const I32* order, PrefixSums<Type>* sums) {
  for (int part = 0; part < PrefixSums<Type>::kParts; ++part) {
    sums->x[part][0] = sums->w[part][0] = F32{};
  }
  for (int r = 0; r < Type::kGroup; ++r) {
    const F32 its_w = GatherLanes(reinterpret_cast<const float*>(w), order[r]);
    const F32 its_wx = its_w * sorted_x[r];
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
    const float* q = Type::IsDown(shift, 0) ? kDown : kUp;
    tests->highest[shift] = sums.x[0][kSize] * q[2];
    if constexpr (kParts == 2) {
      const float* q1 = Type::IsDown(shift, 1) ? kDown : kUp;
      tests->highest[shift] += sums.x[1][kSize] * q1[2];
    }
  }
  for (int i = 0; i <= kSize; ++i) {
    // By part, direction.
    F32 by_ones[kParts][2], by_twos[kParts][2];
    for (int part = 0; part < kParts; ++part) {
      const F32 w = sums.w[part][i];
      const F32 beyond = sums.w[part][kSize] - w;
      for (int down = 0; down < 2; ++down) {
        const float* q = down ? kDown : kUp;
        by_ones[part][down] = w * (q[0] * q[0] - q[1] * q[1]);
        by_twos[part][down] = w * (q[1] * q[1]) + beyond * (q[2] * q[2]);
      }
    }
    for (int shift = 0; shift < Type::kShifts; ++shift) {
      const int down = Type::IsDown(shift, 0);
      tests->by_ones[shift][i] = by_ones[0][down];
      tests->by_twos[shift][i] = by_twos[0][down];
      if constexpr (kParts == 2) {
        const int down1 = Type::IsDown(shift, 1);
        tests->by_ones[shift][i] += by_ones[1][down1];
        tests->by_twos[shift][i] += by_twos[1][down1];
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

// The best scale and shift, nearly, of about every fourth split.
template <class Type>
NARROW_LANE_FUNCTION F32 CoarseGain(const Tests<Type>& tests, F32* scale,
                                    I32* shift) {
  constexpr int kSize = Type::kGroup;
  F32 gain[Type::kShifts], its_scale[Type::kShifts];
  for (int s = 0; s < Type::kShifts; ++s) {
    gain[s] = its_scale[s] = F32{};
  }
  // (The best has hardly ever more than 5/8 of the weights at either end.)
  for (int i = 0; i <= kSize * 5 / 8; i += 2) {
    for (int j = i > kSize * 3 / 8 ? i : kSize * 3 / 8; j <= kSize; j += 2) {
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

// A gain that the scan surely sees in the split of gain `gain` and this scale.
NARROW_LANE_FUNCTION F32 LeastGain(F32 gain, F32 scale, F32 magnitude,
                                   F32 sum_w) {
  scale = Abs(scale);
  return gain - kRounding * (80.0f * magnitude * scale + 40.0f * gain +
                             10.0f * scale * scale * sum_w);
}

// The gain of rounding under `scale`, and the scale of that rounding. A split
// has the same places for all octets, so where their shifts differ they lie
// midway.
template <class Type>
NARROW_LANE_FUNCTION F32 ImproveScale(const F32* x, const F32* w, I32 shift,
                                      F32* scale) {
  constexpr int kSize = Type::kGroup;
  constexpr int kParts = PrefixSums<Type>::kParts;
  F32 offset[kParts];
  F32 middle = {};
  for (int part = 0; part < kParts; ++part) {
    offset[part] = Select((shift & (1 << (kParts - 1 - part))) != 0,
                          Splat(-0.125f), Splat(0.125f));
    middle += offset[part] * (1.0f / kParts);
  }
  const F32 first = *scale * (middle - 0.5f);
  const F32 second = *scale * (middle + 0.5f);
  F32 code_x = {};
  F32 code_square = {};
  for (int part = 0; part < kParts; ++part) {
    constexpr int kPart = kSize / kParts;
    for (int i = part * kPart; i < (part + 1) * kPart; ++i) {
      F32 q = Select(x[i] >= second, offset[part] + 1.0f, offset[part]);
      q = Select(x[i] < first, offset[part] - 1.0f, q);
      const F32 wq = w[i] * q;
      code_x = FusedMultiplyAdd(wq, x[i], code_x);
      code_square = FusedMultiplyAdd(wq, q, code_square);
    }
  }
  *scale = code_x / code_square;
  return *scale * code_x;
}

// The scan so far.
struct Scan {
  F32 gain;
  F32 scale;
  I32 best;  // ones << 16 | twos << 8 | shift, or -1
  I32 n_finalists;
};

// The sums of a candidate with the operations of the reference.
NARROW_LANE_FUNCTION void ExactSums(const PrefixSums<IQ1_S>& sums, int ones,
                                    int twos, int shift, F32* code_x,
                                    F32* code_square) {
  static constexpr float kValues[2][3] = {{kUp[0], kUp[1], kUp[2]},
                                          {kDown[0], kDown[1], kDown[2]}};
  const float* q = kValues[shift];
  const F32* x = sums.x[0];
  const F32* w = sums.w[0];
  constexpr int kSize = IQ1_S::kGroup;
  *code_x =
      x[ones] * q[0] + (x[twos] - x[ones]) * q[1] + (x[kSize] - x[twos]) * q[2];
  *code_square = w[ones] * q[0] * q[0] + (w[twos] - w[ones]) * q[1] * q[1] +
                 (w[kSize] - w[twos]) * q[2] * q[2];
}

NARROW_LANE_FUNCTION void ExactSums(const PrefixSums<IQ1_M>& sums, int ones,
                                    int twos, int shift, F32* code_x,
                                    F32* code_square) {
  // By direction: the level values' highest, and what a weight below either
  // place adds to the square. (All are exact.)
  static constexpr float kHighest[2] = {kUp[2], kDown[2]};
  static constexpr float kOnes[2] = {kUp[0] * kUp[0] - kUp[1] * kUp[1],
                                     kDown[0] * kDown[0] - kDown[1] * kDown[1]};
  static constexpr float kTwos[2] = {kUp[1] * kUp[1] - kUp[2] * kUp[2],
                                     kDown[1] * kDown[1] - kDown[2] * kDown[2]};
  F32 its_x[2], its_square[2];
  for (int part = 0; part < 2; ++part) {
    const int down = shift >> (1 - part) & 1;
    const F32* x = sums.x[part];
    const F32* w = sums.w[part];
    constexpr int kSize = IQ1_M::kGroup;
    its_x[part] = x[kSize] * kHighest[down] - (x[ones] + x[twos]);
    its_square[part] = w[kSize] * kHighest[down] * kHighest[down] +
                       w[ones] * kOnes[down] + w[twos] * kTwos[down];
  }
  *code_x = its_x[0] + its_x[1];
  *code_square = its_square[0] + its_square[1];
}

// A finalist of the lanes that `tried` has.
template <class Type>
NARROW_LANE_FUNCTION void TryFinalist(const PrefixSums<Type>& sums, int pair,
                                      int shift, I32 tried, Scan* scan) {
  static constexpr SplitPairs<Type::kGroup> kPairs;
  F32 code_x, code_square;
  ExactSums(sums, kPairs.ones[pair], kPairs.twos[pair], shift, &code_x,
            &code_square);
  scan->n_finalists -= tried;
  const I32 better = (code_x * code_x > scan->gain * code_square) &
                     (code_square > F32{}) & tried;
  const F32 scale = code_x / code_square;
  scan->scale = Select(better, scale, scan->scale);
  scan->gain = Select(better, scale * code_x, scan->gain);
  scan->best = SelectInt(
      better,
      SplatInt(kPairs.ones[pair] << 16 | kPairs.twos[pair] << 8 | shift),
      scan->best);
}

// Lane k is set if bit k is.
NARROW_LANE_FUNCTION I32 LanesOfBits(uint32_t bits) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_movm_epi32(static_cast<__mmask16>(bits)));
#else
  const I32 bit = SplatInt(1) << LaneNumbers();
  return (SplatInt(static_cast<int32_t>(bits)) & bit) == bit;
#endif
}

// Scans the finalists, whose gain is at least `threshold`, nearly.
//
// With F = c T - X[ones], the test is that of step 2, multiplied out:
//   -2 F X[twos] + (X[twos]^2 - threshold by_twos) >= threshold by_ones - F^2
// F is at most 2.125 m, so that all squares, products and differences are
// rounded by less than 14u m^2, and the sums are 2 x 1.125 x 14u m^2 and
// 8u threshold sum_w off.
template <class Type>
NARROW_LANE_FUNCTION void ScanFinalists(const PrefixSums<Type>& sums,
                                        const Tests<Type>& tests, F32 threshold,
                                        F32 magnitude, Scan* scan) {
  constexpr int kSize = Type::kGroup;
  constexpr int kShifts = Type::kShifts;
  constexpr int kCount = SplitPairs<kSize>::kCount;
  static constexpr SplitPairs<kSize> kPairs;
  F32 factor[kSize + 1][kShifts], limit[kSize + 1][kShifts];
  F32 by_twos[kSize + 1][kShifts];
  const F32 margin = kRounding * (56.0f * magnitude * magnitude +
                                  12.0f * threshold * tests.sum_w);
  for (int i = 0; i <= kSize; ++i) {
    const F32 below = tests.below[i];
    for (int s = 0; s < kShifts; ++s) {
      const F32 from = tests.highest[s] - below;
      factor[i][s] = -2.0f * from;
      limit[i][s] = FusedMultiplyAdd(-from, from,
                                     threshold * tests.by_ones[s][i] - margin);
      by_twos[i][s] =
          FusedMultiplyAdd(below, below, -(threshold * tests.by_twos[s][i]));
    }
  }
  // Pairs of places with a finalist. (Branches would often be mispredicted,
  // here and below.)
  uint16_t pairs[kCount + 1];
  int n_pairs = 0;
  int pair = 0;
  for (int i = 0; i <= kSize; ++i) {
    for (int j = i; j <= kSize; ++j, ++pair) {
      F32 left[kShifts];
      for (int s = 0; s < kShifts; ++s) {
        left[s] = FusedMultiplyAdd(factor[i][s], tests.below[j], by_twos[j][s]);
      }
      pairs[n_pairs] = static_cast<uint16_t>(pair);
      n_pairs += AnyAtLeast<kShifts>(left, limit[i]);
    }
  }
  // Candidates with a finalist in some lanes.
  struct {
    uint16_t pair;
    uint8_t shift;
    uint32_t lanes;
  } tried[kCount * kShifts + 1];
  int n_tried = 0;
  for (int k = 0; k < n_pairs; ++k) {
    const int i = kPairs.ones[pairs[k]];
    const int j = kPairs.twos[pairs[k]];
    for (int s = 0; s < kShifts; ++s) {
      const uint32_t lanes = AtLeastBits(
          FusedMultiplyAdd(factor[i][s], tests.below[j], by_twos[j][s]),
          limit[i][s]);
      tried[n_tried] = {pairs[k], static_cast<uint8_t>(s), lanes};
      n_tried += lanes != 0;
    }
  }
  *scan = {Splat(-FLT_MAX), F32{}, SplatInt(-1), I32{}};
  for (int k = 0; k < n_tried; ++k) {
    TryFinalist<Type>(sums, tried[k].pair, tried[k].shift,
                      LanesOfBits(tried[k].lanes), scan);
  }
}

// Levels from the places where they begin.
template <class Type>
NARROW_LANE_FUNCTION void PackLevels(const I32* order, I32 ones, I32 twos,
                                     I32* levels) {
  constexpr int kWords = Type::kGroup / kOctet / 2;
  U32 words[kWords] = {};  // two octets each
  for (int r = 0; r < Type::kGroup; ++r) {
    const I32 power = SplatInt(1) << ((order[r] & 15) * 2);
    const U32 times = AsUint(power & (ones <= r)) + AsUint(power & (twos <= r));
    for (int k = 0; k < kWords; ++k) {
      words[k] += kWords == 1 ? times : times & AsUint((order[r] >> 4) == k);
    }
  }
  for (int k = 0; k < kWords; ++k) {
    levels[2 * k] = reinterpret_cast<I32>(words[k] & 0xffffu);
    levels[2 * k + 1] = reinterpret_cast<I32>(words[k] >> 16);
  }
}

// x, w: [kGroup]. REQUIRES: finite numbers, w not negative.
template <class Type>
NARROW_LANE_FUNCTION void FindSplits(const F32* x, const F32* w,
                                     SplitLanes<Type>* split) {
  constexpr int kSize = Type::kGroup;
  constexpr int kShifts = Type::kShifts;
  I32 order[kSize];
  F32 sorted_x[kSize];
  SortGroups<kSize>(x, order, sorted_x);
  PrefixSums<Type> sums;
  SumUp<Type>(sorted_x, w, order, &sums);
  Tests<Type> tests;
  MakeTests<Type>(sums, &tests);

  F32 magnitude = {};
  for (int i = 0; i < kSize; ++i) {
    magnitude += Abs(w[i] * x[i]);
  }
  F32 scale;
  I32 shift;
  F32 gain = CoarseGain<Type>(tests, &scale, &shift);
  for (int k = 0; k < 2; ++k) {
    // (A NaN loses.)
    const F32 improved = ImproveScale<Type>(x, w, shift, &scale);
    gain = Max(LeastGain(improved, scale, magnitude, tests.sum_w), gain);
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
  Scan scan;
  // (Nothing is at least infinite.)
  const F32 threshold =
      Select(sound, gain * (1 - kSlack), Splat(__builtin_inff()));
  ScanFinalists<Type>(sums, tests, threshold, magnitude, &scan);
  // Without weights there is nothing to scale.
  split->none = tests.sum_w == F32{};
  split->failed =
      ((scan.n_finalists > kMaxFinalists) | (scan.best < 0)) & ~split->none;
  split->shift = scan.best & 0xff;
  split->scale = scan.scale;
  PackLevels<Type>(order, scan.best >> 16, (scan.best >> 8) & 0xff,
                   split->levels);
  // Negative scales become positive by turning all signs.
  const I32 turn = split->scale < F32{};
  split->scale = Select(turn, -split->scale, split->scale);
  split->shift = SelectInt(turn, kShifts - 1 - split->shift, split->shift);
  for (int o = 0; o < kSize / kOctet; ++o) {
    split->levels[o] =
        SelectInt(turn, 0xaaaa - split->levels[o], split->levels[o]);
  }
}

}  // namespace iq1_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_SPLIT_LANES_H_
