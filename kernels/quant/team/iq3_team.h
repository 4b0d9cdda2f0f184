// IQ3_XXS and IQ3_S: a thread a group; the method is that of
// iq3/reference.cc, with a point's four levels in a word, three bits each, as
// the numbers of its grid are, and over the lists of points that can win
// (iq3/candidates.h).

#ifndef NARROW_KERNELS_QUANT_TEAM_IQ3_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_IQ3_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/iq3/layout.h"

namespace narrow {
namespace team {

template <class Type>
struct Iq3Team {
  static constexpr int kSize = iq3::kGroup;
  static constexpr int kPoint = iq3::kPoint;
  static constexpr int kPoints = iq3::kPointsPerGroup;
  static constexpr int kThreads = iq3::kGroups;
  static constexpr int kBlock = iq3::kSuperBlock;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 3;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  struct State {
    uint16_t points[kPoints];
    uint8_t signs[4];
    bool is_zero;
  };
  struct Shared {
    F32 scales[kThreads];
    bool is_zero[kThreads];
    // A block's fields, by place.
    uint8_t low[iq3::kPoints];
    uint8_t high[iq3::kPoints];
    uint8_t signs[iq3::kSuperBlock / 8];
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      Fit(in, thread, state, shared);
    } else if constexpr (kPhase == 1) {
      Arrange(thread, *state, shared);
    } else {
      Store(in, thread, *shared);
    }
  }

 private:
  struct Group {
    F32 x[kSize];
    F32 weight[kSize];
    F32 metric[kSize];
    uint32_t signs;  // a bit a weight
  };
  struct Choice {
    uint16_t numbers[kPoints];
    uint32_t in_grid;  // a bit a point
  };
  struct Sums {
    F32 xq;
    F32 qq;
  };

  NARROW_LANE_FUNCTION static F32 Odd(uint32_t level) {
    return static_cast<float>(2 * static_cast<int>(level) + 1);
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void LoadGroup(const Input& in, int thread,
                                             Group* group) {
    const F32 variance =
        2.0f * in.SumOfSquares(kBlock) / static_cast<float>(kBlock);
    in.template Load<kSize>(thread * kSize, group->x);
    if (in.importance != nullptr) {
      in.template LoadImportance<kSize>(thread * kSize, group->weight);
    }
    for (int i = 0; i < kSize; ++i) {
      const F32 square = group->x[i] * group->x[i];
      group->weight[i] = in.importance != nullptr
                             ? group->weight[i] * Sqrt(variance + square)
                             : square;
      group->metric[i] = Sqrt(group->weight[i]);
    }
    group->signs = 0;
    for (int first = 0; first < kSize; first += 8) {
      SplitSigns(first, group);
    }
  }

  NARROW_LANE_FUNCTION static void SplitSigns(int first, Group* group) {
    F32* x = group->x + first;
    const F32* w = group->weight + first;
    uint32_t signs = 0;
    uint32_t odd = 0;
    int least_at = 0;
    F32 least = w[0] * x[0] * x[0];
    for (int i = 0; i < 8; ++i) {
      const F32 matters = w[i] * x[i] * x[i];
      const bool less = (matters < least).v != 0;
      least = less ? matters : least;
      least_at = less ? i : least_at;
    }
    for (int i = 0; i < 8; ++i) {
      const bool positive = (x[i] >= F32{}).v != 0;
      x[i] = positive ? x[i] : -x[i];
      signs |= static_cast<uint32_t>(!positive) << i;
      odd ^= static_cast<uint32_t>(!positive);
    }
    if (Type::kEvenSigns && odd != 0) {
      for (int i = 0; i < 8; ++i) {
        x[i] = i == least_at ? -x[i] : x[i];
      }
      signs ^= 1u << least_at;
    }
    group->signs |= signs << first;
  }

  // The number of the point for the four weights from `at`.
  NARROW_LANE_FUNCTION static int ChooseLevels(const LatticeTables& tables,
                                               const Group& group, int at,
                                               F32 inverse, F32 scale,
                                               bool* in_grid) {
    const F32* x = group.x + at;
    int number = 0;
    bool at_border = false;
    for (int i = 0; i < kPoint; ++i) {
      const F32 place = 0.5f * (inverse * x[i] - 1.0f);
      const int level = ClampInt(RoundToInt(place), 0, iq3::kLevels - 1).v;
      number |= level << (3 * i);
      // Beyond the ends there is no border.
      const float off = place.v - static_cast<float>(level);
      const bool inside =
          place.v > 0 && place.v < static_cast<float>(iq3::kLevels - 1);
      at_border |= inside && (off < 0 ? -off : off) > 0.5f - iq3::kBorder;
    }
    const uint32_t entry =
        tables.candidates[number + (at_border ? iq3::kNumbers : 0)];
    const uint32_t* words = tables.candidate_words + (entry & iq3::kFirstMask);
    *in_grid = (words[0] & iq3::kInGrid) != 0;
    return *in_grid ? number
                    : NearestOf(words,
                                static_cast<int>(entry >> iq3::kCountShift &
                                                 iq3::kCountMask) +
                                    1,
                                x, group.metric + at, scale);
  }

  // The number of the first of a list's points at the least distance.
  NARROW_LANE_FUNCTION static int NearestOf(const uint32_t* words, int n,
                                            const F32* x, const F32* metric,
                                            F32 scale) {
    F32 least = 3.40282347e+38f;
    uint32_t nearest = words[0];
    for (int j = 0; j < n; ++j) {
      const uint32_t word = words[j];
      F32 distance = {};
      for (int i = 0; i < kPoint; ++i) {
        const F32 miss = scale * Odd(word >> (8 * i) & 7) - x[i];
        distance += metric[i] * miss * miss;
      }
      if ((distance < least).v != 0) {
        least = distance;
        nearest = word;
      }
    }
    int number = 0;
    for (int i = 0; i < kPoint; ++i) {
      number |= static_cast<int>(nearest >> (8 * i) & 7) << (3 * i);
    }
    return number;
  }

  NARROW_LANE_FUNCTION static Sums SumUp(const Group& group,
                                         const uint16_t* numbers) {
    Sums sums = {F32{}, F32{}};
    for (int i = 0; i < kSize; ++i) {
      const F32 q = Odd(numbers[i / kPoint] >> (3 * (i % kPoint)) & 7u);
      sums.xq += group.weight[i] * group.x[i] * q;
      sums.qq += group.weight[i] * q * q;
    }
    return sums;
  }

  NARROW_LANE_FUNCTION static F32 ScanScales(const LatticeTables& tables,
                                             const Group& group, F32 largest,
                                             Choice* choice) {
    F32 scale = largest / static_cast<float>(iq3::kTopLevel);
    for (int p = 0; p < kPoints; ++p) {
      choice->numbers[p] = 0;
    }
    choice->in_grid = Type::kRefineAll ? 0 : (1u << kPoints) - 1;
    F32 best = {};
    for (int k = -Type::kScan; k <= Type::kScan; ++k) {
      const F32 inverse = (static_cast<float>(iq3::kTopLevel) +
                           static_cast<float>(k) * iq3::kStep) /
                          largest;
      const F32 candidate = 1.0f / inverse;
      Choice tried;
      tried.in_grid = 0;
      for (int p = 0; p < kPoints; ++p) {
        bool in_grid;
        tried.numbers[p] = static_cast<uint16_t>(ChooseLevels(
            tables, group, kPoint * p, inverse, candidate, &in_grid));
        tried.in_grid |= static_cast<uint32_t>(in_grid) << p;
      }
      const Sums sums = SumUp(group, tried.numbers);
      if (((sums.qq > F32{}) & (sums.xq * sums.xq > best * sums.qq)).v != 0) {
        scale = sums.xq / sums.qq;
        best = scale * sums.xq;
        *choice = tried;
      }
    }
    return scale;
  }

  NARROW_LANE_FUNCTION static F32 Refine(const LatticeTables& tables,
                                         const Group& group, F32 scale,
                                         Choice* choice) {
    if ((scale > F32{}).v == 0 || choice->in_grid == (1u << kPoints) - 1) {
      return scale;
    }
    const F32 inverse = 1.0f / scale;
    for (int p = 0; p < kPoints; ++p) {
      if (Type::kRefineAll || (choice->in_grid >> p & 1) == 0) {
        bool in_grid;
        choice->numbers[p] = static_cast<uint16_t>(
            ChooseLevels(tables, group, kPoint * p, inverse, scale, &in_grid));
      }
    }
    const Sums sums = SumUp(group, choice->numbers);
    return Select(sums.qq > F32{}, sums.xq / sums.qq, scale);
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void Fit(const Input& in, int thread,
                                       State* state, Shared* shared) {
    Group group;
    LoadGroup(in, thread, &group);
    F32 largest = group.x[0];
    for (int i = 1; i < kSize; ++i) {
      largest = Select(largest > group.x[i], largest, group.x[i]);
    }
    state->is_zero =
        Type::kZeroLimit > 0 ? largest.v < Type::kZeroLimit : largest.v == 0;
    shared->is_zero[thread] = state->is_zero;
    shared->scales[thread] = F32{};
    // Fields that no group fills are zero.
    for (int p = 0; p < kPoints; ++p) {
      shared->low[thread * kPoints + p] = 0;
      shared->high[thread * kPoints + p] = 0;
    }
    for (int k = 0; k < 4; ++k) {
      shared->signs[4 * thread + k] = 0;
    }
    if (state->is_zero) {
      return;
    }
    Choice choice;
    F32 scale = ScanScales(*in.tables, group, largest, &choice);
    scale = Refine(*in.tables, group, scale, &choice);
    const bool negative = (scale < F32{}).v != 0;
    shared->scales[thread] = negative ? -scale : scale;
    for (int k = 0; k < 4; ++k) {
      const uint32_t signs = group.signs >> (8 * k);
      state->signs[k] = static_cast<uint8_t>(negative ? ~signs : signs);
    }
    for (int p = 0; p < kPoints; ++p) {
      state->points[p] =
          static_cast<uint16_t>(in.tables->entries[choice.numbers[p]]);
    }
  }

  // Points' low bytes and signs move up over groups of zeros where the type
  // closes such gaps; high bits stay.
  NARROW_LANE_FUNCTION static void Arrange(int thread, const State& state,
                                           Shared* shared) {
    if (state.is_zero) {
      return;
    }
    int at = thread;
    if constexpr (Type::kClosesGaps) {
      for (int g = 0; g < thread; ++g) {
        at -= shared->is_zero[g] ? 1 : 0;
      }
    }
    for (int p = 0; p < kPoints; ++p) {
      shared->low[at * kPoints + p] = static_cast<uint8_t>(state.points[p]);
      shared->high[thread * kPoints + p] =
          static_cast<uint8_t>(state.points[p] >> 8);
    }
    for (int k = 0; k < 4; ++k) {
      shared->signs[4 * at + k] = state.signs[k];
    }
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void Store(const Input& in, int thread,
                                         const Shared& shared) {
    F32 largest = {};
    for (int g = 0; g < kThreads; ++g) {
      largest = Select(largest > shared.scales[g], largest, shared.scales[g]);
    }
    const bool empty = largest.v == 0;
    const F32 d = largest / static_cast<float>(iq3::kTopScale);
    const F32 inverse = 1.0f / d;
    const auto stored = [&](int g) {
      const I32 scale =
          ClampInt(RoundToInt(0.5f * (inverse * shared.scales[g] - 1.0f)), 0,
                   iq3::kScaleHigh);
      return empty ? 0u : static_cast<uint32_t>(scale.v);
    };
    // A block of zero bits, but where the type keeps what was found.
    const uint8_t mask = empty && !Type::kClosesGaps ? 0 : 255;
    if (thread == 0) {
      in.StoreUnit(empty ? F32{} : d * Type::kStretch, 0);
    }
    for (int p = 0; p < kPoints; ++p) {
      in.bytes[2 + thread * kPoints + p] =
          shared.low[thread * kPoints + p] & mask;
    }
    if constexpr (Type::kClosesGaps) {
      StoreS(thread, shared, stored, in.bytes);
    } else {
      uint32_t word = stored(thread) << 28;
      for (int k = 0; k < 4; ++k) {
        word |= (shared.signs[4 * thread + k] & mask & 127u) << (7 * k);
      }
      const I32 packed = static_cast<int32_t>(word);
      StoreBlocks<1>(&packed, 1, in.bytes + 66 + 4 * thread, 0);
    }
  }

  template <class Stored>
  NARROW_LANE_FUNCTION static void StoreS(int thread, const Shared& shared,
                                          const Stored& stored,
                                          uint8_t* bytes) {
    uint32_t high = 0;
    for (int p = 0; p < kPoints; ++p) {
      high |= static_cast<uint32_t>(shared.high[thread * kPoints + p]) << p;
    }
    bytes[66 + thread] = static_cast<uint8_t>(high);
    for (int k = 0; k < 4; ++k) {
      bytes[74 + 4 * thread + k] = shared.signs[4 * thread + k];
    }
    if (thread % 2 == 0) {
      bytes[106 + thread / 2] =
          static_cast<uint8_t>(stored(thread) | stored(thread + 1) << 4);
    }
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_IQ3_TEAM_H_
