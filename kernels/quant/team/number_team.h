// Types of small numbers: MXFP4 and NVFP4; TQ1_0, TQ2_0, Q1_0 and Q2_0; F16
// and BF16.

#ifndef NARROW_KERNELS_QUANT_TEAM_NUMBER_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_NUMBER_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/fp4/fp4_lanes.h"
#include "kernels/quant/ternary/ternary_blocks.h"

namespace narrow {
namespace team {

// The bits of the largest magnitude of kSize numbers.
template <int kSize>
NARROW_LANE_FUNCTION I32 LargestMagnitude(const F32* x) {
  I32 greatest = {};
  for (int i = 0; i < kSize; ++i) {
    greatest = MaxInt(greatest, AsInt(x[i]) & 0x7fffffff);
  }
  return greatest;
}

// The E2M1 number of a weight, as Nibbles of fp4_simd.cc finds it. Its bin is
// the number of whole steps; tables are bits of a word.
NARROW_LANE_FUNCTION I32 NibbleOf(F32 x, F32 step, F32 inverse) {
  // Twice the middles 1 3 5 7 10 10 14 14 20, five bits each, and the
  // magnitudes below them 0 1 2 3 4 4 5 5 6, four bits each; from bin 8 on
  // all is as there.
  constexpr uint64_t kDoubled = 1ull | 3ull << 5 | 5ull << 10 | 7ull << 15 |
                                10ull << 20 | 10ull << 25 | 14ull << 30 |
                                14ull << 35 | 20ull << 40;
  constexpr uint64_t kLower = 0x655443210ull;
  const F32 size = Abs(x);
  const int bin = MinInt(Truncate(size * inverse), 8).v;
  const I32 doubled = static_cast<int32_t>((kDoubled >> (5 * bin)) & 31);
  const I32 lower = static_cast<int32_t>((kLower >> (4 * bin)) & 15);
  const F32 middle = ToFloat(doubled) * (0.5f * step);
  const I32 code = lower - (size > middle);
  return code | ((x < -0.5f * step) & 8);
}

// MXFP4, a thread a block, and NVFP4, a thread a sub-block.
template <class Type, int kThreads_>
struct Fp4Team {
  static constexpr int kSize = Type::kSize;
  static constexpr int kHalf = kSize / 2;
  static constexpr int kThreads = kThreads_;
  static constexpr int kBlock = kThreads * kSize;
  static constexpr int kBytes = kThreads + kBlock / 2;
  static constexpr int kPhases = 1;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  using State = Nothing;
  using Shared = Nothing;

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* /*state*/, Shared* /*shared*/) {
    F32 x[kSize];
    in.template Load<kSize>(thread * kSize, x);
    const fp4_lanes::Scales scales = Type::ScalesOf(LargestMagnitude<kSize>(x));
    if (Any(scales.failed)) {
      *in.failed = true;
    }
    in.bytes[thread] = static_cast<uint8_t>(scales.bytes.v);
    uint8_t* codes = in.bytes + kThreads + thread * kHalf;
    for (int j = 0; j < kHalf; ++j) {
      const I32 low = NibbleOf(x[j], scales.step, scales.inverse);
      const I32 high = NibbleOf(x[j + kHalf], scales.step, scales.inverse);
      codes[j] = static_cast<uint8_t>((low | (high << 4)).v);
    }
  }
};

// Trits under the largest magnitude: as in ternary_simd.cc, two comparisons a
// weight, where the scale has a reciprocal.
struct TritShared {
  int32_t magnitudes[8];
};

template <class Packing>
struct TritTeam {
  static constexpr int kThreads = 8;
  static constexpr int kBlock = Packing::kBlock;
  static constexpr int kBytes = Packing::kBytes;
  static constexpr int kPhases = 2;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  using State = Nothing;
  using Shared = TritShared;

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* /*state*/, Shared* shared) {
    constexpr int kShare = kBlock / kThreads;
    if constexpr (kPhase == 0) {
      F32 x[kShare];
      in.template Load<kShare>(thread * kShare, x);
      shared->magnitudes[thread] = LargestMagnitude<kShare>(x).v;
    } else {
      I32 magnitude = {};
      for (int k = 0; k < kThreads; ++k) {
        magnitude = MaxInt(magnitude, shared->magnitudes[k]);
      }
      if (magnitude.v != 0 && magnitude.v < 0x00800000) {
        *in.failed = true;
      }
      const F32 d = AsFloat(magnitude);
      const F32 inverse = Select(magnitude == 0, F32{}, 1.0f / d);
      if (thread == 0) {
        in.StoreUnit(d, Packing::kScaleAt);
      }
      for (int j = thread; j < Packing::kCodeBytes; j += kThreads) {
        const I32 byte = Packing::Byte(j, [&](int i) {
          const F32 position = in.At(i) * inverse;
          return 1 - (position >= 0.5f) + (position <= -0.5f);
        });
        in.bytes[Packing::kCodesAt + j] = static_cast<uint8_t>(byte.v);
      }
    }
  }
};

struct Tq1Packing {
  static constexpr int kBlock = ternary::kTq1Block;
  static constexpr int kBytes = ternary::kTq1Bytes;
  static constexpr int kScaleAt = 52;
  static constexpr int kCodesAt = 0;
  static constexpr int kCodeBytes = 52;

  template <class Trit>
  NARROW_LANE_FUNCTION static I32 Byte(int j, const Trit& trit) {
    const int run = j < 32 ? 32 : j < 48 ? 16 : 4;
    const int first = j < 32 ? j : j < 48 ? 160 + (j - 32) : 240 + (j - 48);
    I32 number = {};
    for (int i = 0; i < 5; ++i) {
      number =
          number * 3 + (run == 4 && i == 4 ? I32(0) : trit(first + i * run));
    }
    return I32((number.v * 256 + 242) / 243);
  }
};

struct Tq2Packing {
  static constexpr int kBlock = ternary::kTq2Block;
  static constexpr int kBytes = ternary::kTq2Bytes;
  static constexpr int kScaleAt = 64;
  static constexpr int kCodesAt = 0;
  static constexpr int kCodeBytes = 64;

  template <class Trit>
  NARROW_LANE_FUNCTION static I32 Byte(int j, const Trit& trit) {
    I32 byte = {};
    for (int i = 0; i < 4; ++i) {
      byte |= trit(j / 32 * 128 + j % 32 + 32 * i) << (2 * i);
    }
    return byte;
  }
};

struct TwoBitPacking {
  static constexpr int kBlock = ternary::kTwoBitBlock;
  static constexpr int kBytes = ternary::kTwoBitBytes;
  static constexpr int kScaleAt = 0;
  static constexpr int kCodesAt = 2;
  static constexpr int kCodeBytes = 16;

  template <class Trit>
  NARROW_LANE_FUNCTION static I32 Byte(int j, const Trit& trit) {
    I32 byte = {};
    for (int i = 0; i < 4; ++i) {
      byte |= trit(4 * j + i) << (2 * i);
    }
    return byte;
  }
};

// Q1_0: the mean magnitude, a sum with an order, and signs; a thread a block.
struct SignTeam {
  static constexpr int kThreads = 1;
  static constexpr int kBlock = ternary::kSignBlock;
  static constexpr int kBytes = ternary::kSignBytes;
  static constexpr int kPhases = 1;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  using State = Nothing;
  using Shared = Nothing;

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int /*thread*/,
                                       State* /*state*/, Shared* /*shared*/) {
    F32 sum = {};
    for (int j = 0; j < kBlock / 8; ++j) {
      F32 x[8];
      in.template Load<8>(8 * j, x);
      I32 byte = {};
      for (int i = 0; i < 8; ++i) {
        sum += Abs(x[i]);
        byte |= (x[i] >= F32{}) & (1 << i);
      }
      in.bytes[2 + j] = static_cast<uint8_t>(byte.v);
    }
    in.StoreUnit(sum / static_cast<float>(kBlock), 0);
  }
};

// F16 and BF16, by bits alone, so that any number is right.
template <bool kIsBf16>
struct PlainTeam {
  static constexpr int kThreads = 1;
  static constexpr int kBlock = 1;
  static constexpr int kBytes = 2;
  static constexpr int kPhases = 1;
  static constexpr bool kChecked = false;
  static constexpr bool kMeanSquares = false;
  using State = Nothing;
  using Shared = Nothing;

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int /*thread*/,
                                       State* /*state*/, Shared* /*shared*/) {
    const F32 x = in.At(0);
    const I32 half = kIsBf16 ? I32(Bf16Of(x)) : F16FromFloat(x);
    StoreHalves(half, 1, in.bytes, 0);
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_NUMBER_TEAM_H_
