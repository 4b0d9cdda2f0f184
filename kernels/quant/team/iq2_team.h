// IQ2_XXS, IQ2_XS and IQ2_S: a thread a group; the method is in
// iq2/reference.h.
//
// The nearest point off the grid is sought among the points that may win
// (iq2/near_lists.h), or in the whole list where a weight lies so near to 2 or
// 4 scales, or so far from any level, that rounding decides. A distance is a
// sum of costs that a coordinate's level has, computed once a list.

#ifndef NARROW_KERNELS_QUANT_TEAM_IQ2_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_IQ2_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/iq2/block.h"
#include "kernels/quant/iq2/near_lists.h"
#include "kernels/quant/k/search_lanes.h"

namespace narrow {
namespace team {

// Words have the levels of a unit, two bits each.
namespace iq2_detail {

using iq2::kLevels;
using iq2::kUnit;

NARROW_LANE_FUNCTION F32 Odd(uint32_t level) {
  return static_cast<float>(2 * static_cast<int>(level) + 1);
}

// The number of a unit's levels at scale 1 / inverse; `wild` where the
// rounding of some weight may have wrapped.
NARROW_LANE_FUNCTION int RoundUnit(const F32* x, F32 inverse, bool* wild) {
  int number = 0;
  int place = 1;
  *wild = false;
  for (int i = 0; i < kUnit; ++i, place *= kLevels) {
    const F32 position = 0.5f * (inverse * x[i] - 1.0f);
    *wild |= !(Abs(position).v < 1048576.0f);
    number += place * ClampInt(RoundToInt(position), 0, kLevels - 1).v;
  }
  return number;
}

// Whether a weight is next to 2 or 4 scales.
NARROW_LANE_FUNCTION bool NearThreshold(const F32* x, F32 scale) {
  bool near = false;
  const F32 margin = scale * 0x1p-14f;
  for (int i = 0; i < kUnit; ++i) {
    near |= !(Abs(Abs(x[i] - 3.0f * scale) - scale).v > margin.v);
  }
  return near;
}

// The first nearest word of a list.
NARROW_LANE_FUNCTION uint32_t NearestWord(const uint16_t* words, int n,
                                          const F32* x, const F32* roots,
                                          F32 scale) {
  F32 costs[kUnit][kLevels];
  for (int i = 0; i < kUnit; ++i) {
    for (int level = 0; level < kLevels; ++level) {
      const F32 miss = scale * Odd(static_cast<uint32_t>(level)) - x[i];
      costs[i][level] = roots[i] * miss * miss;
    }
  }
  uint32_t nearest = words[0];
  F32 least = 3.40282347e+38f;
  for (int j = 0; j < n; ++j) {
    const uint32_t word = words[j];
    F32 distance = {};
    for (int i = 0; i < kUnit; ++i) {
      const F32 low = word & (1u << (2 * i)) ? costs[i][1] : costs[i][0];
      distance += word & (2u << (2 * i)) ? costs[i][2] : low;
    }
    if ((distance < least).v != 0) {
      least = distance;
      nearest = word;
    }
  }
  return nearest;
}

// Levels for a unit at 1 / inverse, nearest ones sought at `scale`.
NARROW_LANE_FUNCTION uint32_t ChooseWord(const LatticeTables& tables,
                                         const F32* x, const F32* roots,
                                         F32 inverse, F32 scale,
                                         bool* on_grid) {
  bool wild;
  const int number = RoundUnit(x, inverse, &wild);
  int32_t entry = tables.near_entries[number];
  *on_grid = entry >= 0;
  if (entry >= 0) {
    return static_cast<uint32_t>(entry);
  }
  if (wild || NearThreshold(x, scale)) {
    entry = tables.whole_entries[number];
  }
  const uint32_t list = static_cast<uint32_t>(entry) & 0x7fffffffu;
  const int n = static_cast<int>(list & ((1u << iq2::kLengthBits) - 1));
  return NearestWord(
      tables.near_words + (list >> iq2::kLengthBits) * iq2::kListStep, n, x,
      roots, scale);
}

}  // namespace iq2_detail

template <class Type>
struct Iq2Team {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kUnits = kSize / iq2::kUnit;  // of a group
  static constexpr int kThreads = iq2::kSuperBlock / kSize;
  static constexpr int kBlock = iq2::kSuperBlock;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 2;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  struct State {
    uint32_t words[kUnits];
    uint32_t signs[kUnits];
  };
  struct Shared {
    F32 scales[kThreads];
    uint16_t points[iq2::kUnits];
    uint8_t signs[iq2::kUnits];
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      Group group;
      LoadGroup(in, thread, &group);
      for (int k = 0; k < kUnits; ++k) {
        state->words[k] = 0;
        // The point of no group: levels are not looked up for it.
        shared->points[thread * kUnits + k] = 0;
      }
      const F32 scale = FitGroup(*in.tables, group, thread, state, shared);
      shared->scales[thread] = scale;
    } else {
      Store(in, thread, *shared);
    }
  }

 private:
  struct Group {
    F32 x[kSize];
    F32 w[kSize];
    F32 roots[kSize];
    uint32_t signs[kUnits];
  };
  struct Sums {
    F32 qx;
    F32 q2;
  };

  template <class Input>
  NARROW_LANE_FUNCTION static void LoadGroup(const Input& in, int thread,
                                             Group* group) {
    const F32 variance = Type::kVarianceFactor * in.SumOfSquares(kBlock) /
                         static_cast<float>(kBlock);
    in.template Load<kSize>(thread * kSize, group->x);
    if (in.importance != nullptr) {
      in.template LoadImportance<kSize>(thread * kSize, group->w);
    }
    for (int i = 0; i < kSize; ++i) {
      const F32 square = group->x[i] * group->x[i];
      group->w[i] = in.importance != nullptr
                        ? group->w[i] * Sqrt(variance + square)
                        : 0.25f * variance + square;
      group->roots[i] = Sqrt(group->w[i]);
    }
    for (int k = 0; k < kUnits; ++k) {
      SplitSigns(k, group);
    }
  }

  NARROW_LANE_FUNCTION static void SplitSigns(int k, Group* group) {
    F32* x = group->x + k * iq2::kUnit;
    const F32* w = group->w + k * iq2::kUnit;
    uint32_t signs = 0;
    uint32_t odd = 0;
    int least = 0;
    F32 least_energy = w[0] * x[0] * x[0];
    for (int i = 0; i < iq2::kUnit; ++i) {
      const F32 energy = w[i] * x[i] * x[i];
      const bool less = (energy < least_energy).v != 0;
      least = less ? i : least;
      least_energy = less ? energy : least_energy;
    }
    for (int i = 0; i < iq2::kUnit; ++i) {
      const bool is_negative = (x[i] >= F32{}).v == 0;
      x[i] = is_negative ? -x[i] : x[i];
      signs |= static_cast<uint32_t>(is_negative) << i;
      odd ^= static_cast<uint32_t>(is_negative);
    }
    if (Type::kEvenSigns && odd != 0) {
      for (int i = 0; i < iq2::kUnit; ++i) {
        x[i] = i == least ? -x[i] : x[i];
      }
      signs ^= 1u << least;
    }
    group->signs[k] = signs;
  }

  NARROW_LANE_FUNCTION static Sums SumUp(const Group& group,
                                         const uint32_t* words) {
    Sums sums = {F32{}, F32{}};
    for (int i = 0; i < kSize; ++i) {
      const F32 q =
          iq2_detail::Odd(words[i / iq2::kUnit] >> (2 * (i % iq2::kUnit)) & 3);
      sums.qx += group.w[i] * group.x[i] * q;
      sums.q2 += group.w[i] * q * q;
    }
    return sums;
  }

  // What the candidates are steps around; 0: the group is zero.
  NARROW_LANE_FUNCTION static F32 TopOf(const Group& group, F32* scale) {
    F32 top = group.x[0];
    for (int i = 1; i < kSize; ++i) {
      top = Select(top > group.x[i], top, group.x[i]);
    }
    if ((top < Type::kZeroLimit).v != 0) {
      return F32{};
    }
    if constexpr (Type::kSearchesTop) {
      I32 codes[kSize];
      k_lanes::SearchUnits<kSize, 4>(group.x, group.w, codes, scale);
      top = *scale * 3.0f;
      return Select(top <= F32{}, F32{}, top);
    }
    *scale = top / 5.0f;
    return top;
  }

  // The group's scale; its points and signs go to `shared`.
  NARROW_LANE_FUNCTION static F32 FitGroup(const LatticeTables& tables,
                                           const Group& group, int thread,
                                           State* state, Shared* shared) {
    F32 scale = {};
    const F32 top = TopOf(group, &scale);
    for (int k = 0; k < kUnits; ++k) {
      shared->signs[thread * kUnits + k] = 0;
    }
    if (top.v == 0) {
      return F32{};
    }
    uint32_t off_grid = 0;
    ScanScales(tables, group, top, state->words, &off_grid, &scale);
    if ((scale > F32{}).v != 0) {
      ChooseAgain(tables, group, state->words, off_grid, &scale);
    }
    const uint32_t flip = (scale < F32{}).v != 0 ? 255 : 0;
    for (int k = 0; k < kUnits; ++k) {
      int number = 0;
      int place = 1;
      for (int i = 0; i < iq2::kUnit; ++i, place *= iq2::kLevels) {
        number += place * static_cast<int>(state->words[k] >> (2 * i) & 3);
      }
      // Every word is a point's; 0, where no candidate was taken, is point 0's.
      shared->points[thread * kUnits + k] =
          static_cast<uint16_t>(tables.entries[number]);
      shared->signs[thread * kUnits + k] =
          static_cast<uint8_t>(group.signs[k] ^ flip);
    }
    return Abs(scale);
  }

  NARROW_LANE_FUNCTION static void ScanScales(const LatticeTables& tables,
                                              const Group& group, F32 top,
                                              uint32_t* words,
                                              uint32_t* off_grid, F32* scale) {
    F32 best = {};
    *off_grid = 0;
    for (int step = -Type::kSteps; step <= Type::kSteps; ++step) {
      const F32 inverse = (5.0f + static_cast<float>(step) * 0.1f) / top;
      const F32 candidate = 1.0f / inverse;
      uint32_t trial[kUnits];
      uint32_t off = 0;
      for (int k = 0; k < kUnits; ++k) {
        bool on_grid;
        trial[k] = iq2_detail::ChooseWord(tables, group.x + k * iq2::kUnit,
                                          group.roots + k * iq2::kUnit, inverse,
                                          candidate, &on_grid);
        off |= static_cast<uint32_t>(!on_grid) << k;
      }
      const Sums sums = SumUp(group, trial);
      if (((sums.q2 > F32{}) & (sums.qx * sums.qx > best * sums.q2)).v != 0) {
        *scale = sums.qx / sums.q2;
        best = *scale * sums.qx;
        *off_grid = off;
        for (int k = 0; k < kUnits; ++k) {
          words[k] = trial[k];
        }
      }
    }
  }

  // Chooses the points off the grid, or all, once more under the scale found.
  NARROW_LANE_FUNCTION static void ChooseAgain(const LatticeTables& tables,
                                               const Group& group,
                                               uint32_t* words,
                                               uint32_t off_grid, F32* scale) {
    bool again = false;
    const F32 inverse = 1.0f / *scale;
    for (int k = 0; k < kUnits; ++k) {
      if (Type::kSearchesTop || (off_grid >> k & 1) != 0) {
        bool on_grid;
        words[k] = iq2_detail::ChooseWord(tables, group.x + k * iq2::kUnit,
                                          group.roots + k * iq2::kUnit, inverse,
                                          *scale, &on_grid);
        again = true;
      }
    }
    const Sums sums = SumUp(group, words);
    if (again && (sums.q2 > F32{}).v != 0) {
      *scale = sums.qx / sums.q2;
    }
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void Store(const Input& in, int thread,
                                         const Shared& shared) {
    F32 top = {};
    for (int g = 0; g < kThreads; ++g) {
      top = Select(top > shared.scales[g], top, shared.scales[g]);
    }
    const F32 d = top / 31.0f;
    const F32 inverse = 1.0f / d;
    const bool empty = top.v == 0;
    const auto stored = [&](int g) {
      const I32 scale =
          ClampInt(RoundToInt(0.5f * (inverse * shared.scales[g] - 1.0f)), 0,
                   iq2::kScaleHigh);
      return empty ? 0u : static_cast<uint32_t>(scale.v);
    };
    // Without any scale, free signs and their points are kept all the same.
    const bool keep = !empty || !Type::kEvenSigns;
    const auto point = [&](int u) {
      return keep ? static_cast<uint32_t>(shared.points[u]) : 0u;
    };
    const auto signs = [&](int u) {
      return keep ? static_cast<uint32_t>(shared.signs[u]) : 0u;
    };
    if (thread == 0) {
      in.StoreUnit(empty ? F32{} : d * Type::kScaleShare, 0);
    }
    Place(Type(), thread, stored, point, signs, in.bytes);
  }

  // A thread's share of a block's bytes; the layouts are in iq2/block.h.
  template <class Scale, class Point, class Signs>
  NARROW_LANE_FUNCTION static void Place(iq2::Iq2Xxs, int g,
                                         const Scale& stored,
                                         const Point& point, const Signs& signs,
                                         uint8_t* bytes) {
    uint8_t* to = bytes + 2 + 8 * g;
    uint32_t word = stored(g) << 28;
    for (int k = 0; k < 4; ++k) {
      to[k] = static_cast<uint8_t>(point(4 * g + k));
      word |= (signs(4 * g + k) & 127) << (7 * k);
    }
    const I32 packed = static_cast<int32_t>(word);
    StoreBlocks<1>(&packed, 1, to + 4, 0);
  }

  template <class Scale, class Point, class Signs>
  NARROW_LANE_FUNCTION static void Place(iq2::Iq2Xs, int g, const Scale& stored,
                                         const Point& point, const Signs& signs,
                                         uint8_t* bytes) {
    for (int u = 2 * g; u < 2 * g + 2; ++u) {
      StoreHalves(static_cast<int32_t>(point(u) | (signs(u) << 9)), 1,
                  bytes + 2 + 2 * u, 0);
    }
    if (g % 2 == 0) {
      bytes[66 + g / 2] =
          static_cast<uint8_t>(stored(g) | (stored(g + 1) << 4));
    }
  }

  template <class Scale, class Point, class Signs>
  NARROW_LANE_FUNCTION static void Place(iq2::Iq2S, int g, const Scale& stored,
                                         const Point& point, const Signs& signs,
                                         uint8_t* bytes) {
    for (int u = 2 * g; u < 2 * g + 2; ++u) {
      bytes[2 + u] = static_cast<uint8_t>(point(u));
      bytes[34 + u] = static_cast<uint8_t>(signs(u));
    }
    if (g % 2 == 0) {
      uint32_t high = 0;
      for (int k = 0; k < 4; ++k) {
        high |= (point(2 * g + k) >> 8) << (2 * k);
      }
      bytes[66 + g / 2] = static_cast<uint8_t>(high);
      bytes[74 + g / 2] =
          static_cast<uint8_t>(stored(g) | (stored(g + 1) << 4));
    }
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_IQ2_TEAM_H_
