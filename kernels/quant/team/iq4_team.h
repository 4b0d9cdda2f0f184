// IQ4_NL, a thread a block, and IQ4_XS, a thread a sub-block; the method is
// in iq4/iq4.h, the definition in iq4/reference.cc.
//
// As in iq4/search_lanes.h, a position is first put into one of 15 bins of 14
// that have one middle each, by arithmetic that rounds freely; one comparison
// with the middle of two neighbouring codes then decides. The sixteen codes
// are bytes of four words, since a thread's registers have no index.

#ifndef NARROW_KERNELS_QUANT_TEAM_IQ4_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_IQ4_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/iq4/iq4.h"

namespace narrow {
namespace team {

namespace iq4_detail {

// Codes + 128.
inline constexpr uint32_t kWord0 = 1u | 24u << 8 | 45u << 16 | 63u << 24;
inline constexpr uint32_t kWord1 = 79u | 93u << 8 | 106u << 16 | 118u << 24;
inline constexpr uint32_t kWord2 = 129u | 141u << 8 | 153u << 16 | 166u << 24;
inline constexpr uint32_t kWord3 = 181u | 197u << 8 | 217u << 16 | 241u << 24;

// Code `place`, 0 … 15.
NARROW_LANE_FUNCTION F32 CodeAt(int place) {
#if defined(__CUDA_ARCH__)
  const uint32_t low = __byte_perm(kWord0, kWord1, place & 7);
  const uint32_t high = __byte_perm(kWord2, kWord3, place & 7);
  const uint32_t byte = (place & 8 ? high : low) & 255;
#else
  const uint32_t word =
      place & 8 ? (place & 4 ? kWord3 : kWord2) : (place & 4 ? kWord1 : kWord0);
  const uint32_t byte = (word >> (8 * (place & 3))) & 255;
#endif
  // 2^23 + byte, less 2^23 + 128.
  return AsFloat(static_cast<int32_t>(0x4b000000u | byte)) - 8388736.0f;
}

// The place of the code nearest to `position`, and that code.
struct Nearest {
  int place;
  F32 code;
};
NARROW_LANE_FUNCTION Nearest NearestTo(F32 position) {
  const F32 bounded = Min(Max(position, -110.0f), 110.0f);
  // Half a bin less than its number, rounded: the bin in the low bits.
  const F32 number = bounded * (1.0f / 14.0f) + 7.375f;
  const F32 sum = number + 12582912.0f;
  const int bin = ClampInt(AsInt(sum) & 0xff, 0, 14).v;
  const F32 low = CodeAt(bin);
  const F32 high = CodeAt(bin + 1);
  // (A NaN goes up.)
  const bool up = !(position.v < 0.5f * (low.v + high.v));
  return {up ? bin + 1 : bin, up ? high : low};
}

NARROW_LANE_FUNCTION int PlaceOf(F32 position) {
  return position.v != position.v ? 15 : NearestTo(position).place;
}

NARROW_LANE_FUNCTION F32 InverseOf(F32 scale) {
  return Select(scale != F32{}, 1.0f / scale, F32{});
}

}  // namespace iq4_detail

// The scale of 32 weights that count as w; 0 if they are zero.
NARROW_LANE_FUNCTION F32 SearchIq4Scale(const F32* x, const F32* w) {
  F32 magnitude = {};
  F32 extreme = {};
  for (int i = 0; i < iq4::kSize; ++i) {
    const I32 greater = Abs(x[i]) > magnitude;
    magnitude = Select(greater, Abs(x[i]), magnitude);
    extreme = Select(greater, x[i], extreme);
  }
  F32 scale = {};
  F32 best = {};
  for (int k = -iq4::kTries - 1; k <= iq4::kTries; ++k) {
    const bool is_first = k < -iq4::kTries;
    const F32 inverse = is_first ? 1.0f / (-extreme / -127.0f)
                                 : (static_cast<float>(k) + -127.0f) / extreme;
    F32 cross = {};
    F32 square = {};
    for (int i = 0; i < iq4::kSize; ++i) {
      const F32 code = iq4_detail::NearestTo(inverse * x[i]).code;
      const F32 weighted = w[i] * code;
      cross += weighted * x[i];
      square += weighted * code;
    }
    const I32 fits = square > F32{};
    const I32 better =
        is_first ? SplatInt(-1) : fits & (cross * cross > best * square);
    const F32 its_scale = Select(fits, cross / square, F32{});
    scale = Select(better, its_scale, scale);
    best = Select(better, its_scale * cross, best);
  }
  return Select(magnitude < iq4::kZeroLimit, F32{}, scale);
}

// kSubBlocks sub-blocks of 32: 1 is IQ4_NL, 8 IQ4_XS.
template <int kSubBlocks>
struct Iq4Team {
  static constexpr bool kIsXs = kSubBlocks > 1;
  static constexpr int kSize = iq4::kSize;
  static constexpr int kThreads = kSubBlocks;
  static constexpr int kBlock = kSubBlocks * kSize;
  static constexpr int kBytes = kIsXs ? iq4::kXsBytes : iq4::kNlBytes;
  static constexpr int kPhases = 2;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  struct State {
    F32 x[kSize];
  };
  struct Shared {
    F32 scales[kSubBlocks];
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      in.template Load<kSize>(thread * kSize, state->x);
      F32 w[kSize];
      Weigh(in, thread, state->x, w);
      shared->scales[thread] = SearchIq4Scale(state->x, w);
    } else if constexpr (kIsXs) {
      StoreXs(in, thread, state->x, *shared);
    } else {
      in.StoreUnit(shared->scales[0], 0);
      StorePlaces(state->x, iq4_detail::InverseOf(shared->scales[0]),
                  in.bytes + 2);
    }
  }

 private:
  template <class Input>
  NARROW_LANE_FUNCTION static void Weigh(const Input& in, int thread,
                                         const F32* x, F32* w) {
    if (in.importance == nullptr) {
      for (int i = 0; i < kSize; ++i) {
        w[i] = x[i] * x[i];
      }
      return;
    }
    const F32 twice_mean_square =
        in.SumOfSquares(kBlock) * (2.0f / static_cast<float>(kBlock));
    in.template LoadImportance<kSize>(thread * kSize, w);
    for (int i = 0; i < kSize; ++i) {
      w[i] = w[i] * Sqrt(twice_mean_square + x[i] * x[i]);
    }
  }

  NARROW_LANE_FUNCTION static void StorePlaces(const F32* x, F32 inverse,
                                               uint8_t* bytes) {
    for (int j = 0; j < kSize / 2; ++j) {
      bytes[j] = static_cast<uint8_t>(
          iq4_detail::PlaceOf(inverse * x[j]) |
          (iq4_detail::PlaceOf(inverse * x[j + kSize / 2]) << 4));
    }
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void StoreXs(const Input& in, int thread,
                                           const F32* x, const Shared& shared) {
    F32 magnitude = {};
    F32 extreme = {};
    for (int g = 0; g < kSubBlocks; ++g) {
      const F32 scale = shared.scales[g];
      const I32 greater = Abs(scale) > magnitude;
      magnitude = Select(greater, Abs(scale), magnitude);
      extreme = Select(greater, scale, extreme);
    }
    const F32 d = -extreme / 32.0f;
    const F32 inverse_d = iq4_detail::InverseOf(d);
    const auto rounded = [&](int g) {
      return ClampInt(RoundToInt(inverse_d * shared.scales[g]), iq4::kLowScale,
                      iq4::kHighScale);
    };
    const F32 step = d * ToFloat(rounded(thread));
    StorePlaces(x, iq4_detail::InverseOf(step),
                in.bytes + 8 + thread * kSize / 2);
    if (thread == 0) {
      in.StoreUnit(d, 0);
      uint32_t high = 0;
      uint32_t low = 0;
      for (int g = 0; g < kSubBlocks; ++g) {
        const auto stored =
            static_cast<uint32_t>(rounded(g).v - iq4::kLowScale);
        low |= (stored & 15) << (4 * g);
        high |= (stored >> 4) << (2 * g);
      }
      StoreHalves(static_cast<int32_t>(high), 1, in.bytes + 2, 0);
      const I32 word = static_cast<int32_t>(low);
      StoreBlocks<1>(&word, 1, in.bytes + 4, 0);
    }
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_IQ4_TEAM_H_
