// The search for IQ4 scales, and rounding under them, with a block of 32
// weights in every lane; iq4.h has the method, reference.cc the definition.
//
// Rounding is a search among the fifteen middles. Cut into bins such that
// each has one middle at most, the line needs one comparison with the middle
// of a weight's bin; in which bin a weight next to a border falls is all the
// same, so the bin comes from arithmetic that rounds freely. For the search,
// whose positions lie within -134 … 134, AVX-512 has 32 bins of 8.75, which
// are what adding a large number rounds to, and whose numbers need no bounds
// since a lookup takes their last five bits. Otherwise there are 15 bins of
// 14, one for each middle.

#ifndef NARROW_KERNELS_QUANT_IQ4_SEARCH_LANES_H_
#define NARROW_KERNELS_QUANT_IQ4_SEARCH_LANES_H_

#include "kernels/quant/iq4/iq4.h"
#include "kernels/quant/nibble_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq4_lanes {

using iq4::kSize;

// a * b + c, rounded once: for bins alone.
NARROW_LANE_FUNCTION F32 MultiplyAdd(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#else
  return _mm256_fmadd_ps(a, b, c);
#endif
}

// Rounds any position, also one that is not finite.
class Places {
 public:
  NARROW_LANE_FUNCTION Places() : middles_(Sixteen::Of(iq4::kMiddles, 15)) {}

  // The last bin is a NaN's.
  NARROW_LANE_FUNCTION I32 Of(F32 position) const {
    const I32 bin = Bin(position);
    return bin + 1 + (position < middles_.At(bin));
  }

  // Bin k, which has middle k alone, begins at 14 k - 110.25, but for the
  // first and the last.
  NARROW_LANE_FUNCTION static I32 Bin(F32 position) {
    const F32 bin =
        MultiplyAdd(position, Splat(1.0f / 14.0f), Splat(110.25f / 14.0f));
    return Truncate(Max(Min(bin, Splat(14.5f)), F32{}));
  }

 private:
  Sixteen middles_;
};

#if defined(__AVX512F__)

// What bin n, about 8.75 n, begins with: its middle or, if it has none, what
// no position reaches, and the code below that. Stored at n modulo 32.
struct BinTable {
  float middles[32];
  float codes[32];
};

constexpr float kBinWidth = 8.75f;

// Whether rounding cannot put a weight next to a middle into a bin without
// that middle: no border comes near one, and none shares its bin.
constexpr bool BinsAreApart() {
  for (int i = 0; i < 15; ++i) {
    for (int n = -17; n < 17; ++n) {
      const float away =
          iq4::kMiddles[i] - (static_cast<float>(n) + 0.5f) * kBinWidth;
      if (away > -0.1f && away < 0.1f) {
        return false;
      }
    }
    if (i > 0 && iq4::kMiddles[i] - iq4::kMiddles[i - 1] < kBinWidth) {
      return false;
    }
  }
  return true;
}
static_assert(BinsAreApart(), "every middle has a bin of its own");

constexpr BinTable MakeBinTable() {
  BinTable table = {};
  for (int n = -16; n < 16; ++n) {
    const float begin = (static_cast<float>(n) - 0.5f) * kBinWidth;
    int place = 0;
    while (place < 15 && iq4::kMiddles[place] < begin) {
      ++place;
    }
    const bool has_middle =
        place < 15 && iq4::kMiddles[place] < begin + kBinWidth;
    table.middles[n & 31] = has_middle ? iq4::kMiddles[place] : 1e30f;
    table.codes[n & 31] = iq4::kCodes[place];
  }
  return table;
}

// Codes nearest to positions of the search.
class SearchCodes {
 public:
  NARROW_LANE_FUNCTION SearchCodes() {
    static constexpr BinTable kTable = MakeBinTable();
    for (int i = 0; i < 2; ++i) {
      middles_[i] = Load(kTable.middles + i * kLanes);
      codes_[i] = Load(kTable.codes + i * kLanes);
    }
  }

  // `scaled` is kScale times `inverse`.
  NARROW_LANE_FUNCTION F32 Of(F32 x, F32 inverse, F32 scaled) const {
    const F32 position = inverse * x;
    const I32 bin = AsInt(MultiplyAdd(x, scaled, Splat(12582912.0f)));
    const F32 middle = At(middles_, bin);
    return At(codes_, bin - (position >= middle));
  }

  static constexpr float kScale = 1.0f / kBinWidth;

 private:
  NARROW_LANE_FUNCTION static F32 At(const F32* table, I32 index) {
    return _mm512_permutex2var_ps(table[0], reinterpret_cast<__m512i>(index),
                                  table[1]);
  }

  F32 middles_[2];
  F32 codes_[2];
};

#else

class SearchCodes {
 public:
  NARROW_LANE_FUNCTION SearchCodes()
      : middles_(Sixteen::Of(iq4::kMiddles, 15)),
        codes_(Sixteen::Of(iq4::kCodes, 16)) {}

  NARROW_LANE_FUNCTION F32 Of(F32 x, F32 inverse, F32 /*scaled*/) const {
    const F32 position = inverse * x;
    const I32 bin = Places::Bin(position);
    return codes_.At(bin - (position >= middles_.At(bin)));
  }

  static constexpr float kScale = 1.0f;

 private:
  Sixteen middles_;
  Sixteen codes_;
};

#endif

inline constexpr int kCandidates = 2 * iq4::kTries + 2;
// Candidates summed side by side, so that a sum need not wait for itself.
inline constexpr int kWays = 4;
static_assert(kCandidates % kWays == 0, "all candidates");

// For kWays inverse scales, the weighted sums of code * weight and of code².
NARROW_LANE_FUNCTION void SumCandidates(const F32* x, const F32* w,
                                        const F32* inverse,
                                        const SearchCodes& codes, F32* cross,
                                        F32* square) {
  F32 scaled[kWays];
  F32 crosses[kWays] = {};
  F32 squares[kWays] = {};
  for (int k = 0; k < kWays; ++k) {
    scaled[k] = inverse[k] * SearchCodes::kScale;
  }
#pragma GCC unroll 1
  for (int i = 0; i < kSize; ++i) {
#pragma GCC unroll 4
    for (int k = 0; k < kWays; ++k) {
      const F32 code = codes.Of(x[i], inverse[k], scaled[k]);
      const F32 weighted = w[i] * code;
      crosses[k] += weighted * x[i];
      squares[k] += weighted * code;
    }
  }
  for (int k = 0; k < kWays; ++k) {
    cross[k] = crosses[k];
    square[k] = squares[k];
  }
}

// The scale of 32 finite weights that count as `w`; 0 if they are zero.
NARROW_LANE_FUNCTION F32 SearchScale(const F32* x, const F32* w) {
  F32 magnitude = {};
  F32 extreme = {};
  for (int i = 0; i < kSize; ++i) {
    const F32 size = Abs(x[i]);
    extreme = Select(size > magnitude, x[i], extreme);
    magnitude = Max(size, magnitude);
  }
  const SearchCodes codes;
  constexpr float kLowest = iq4::kCodes[0];
  F32 inverse[kCandidates];
  inverse[0] = 1.0f / (-extreme / kLowest);
  for (int k = 1; k < kCandidates; ++k) {
    inverse[k] = (static_cast<float>(k - 1 - iq4::kTries) + kLowest) / extreme;
  }
  F32 cross[kCandidates];
  F32 square[kCandidates];
  for (int k = 0; k < kCandidates; k += kWays) {
    SumCandidates(x, w, inverse + k, codes, cross + k, square + k);
  }
  F32 scale = Select(square[0] > 0.0f, cross[0] / square[0], F32{});
  F32 best = scale * cross[0];
  for (int k = 1; k < kCandidates; ++k) {
    const I32 better =
        (square[k] > 0.0f) & (cross[k] * cross[k] > best * square[k]);
    scale = Select(better, cross[k] / square[k], scale);
    best = Select(better, scale * cross[k], best);
  }
  return Select(magnitude < iq4::kZeroLimit, F32{}, scale);
}

}  // namespace iq4_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ4_SEARCH_LANES_H_
