// IQ1_S and IQ1_M: a thread a group; the method is that of iq1/reference.h:
// all splits of the sorted weights into three levels, then the lattice, over
// the lists of points that can win (iq1/near_lists.h).

#ifndef NARROW_KERNELS_QUANT_TEAM_IQ1_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_IQ1_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/iq1/groups.h"

namespace narrow {
namespace team {

template <class Type>
struct Iq1Team {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kOctet = iq1::kOctet;
  static constexpr int kOctets = kSize / kOctet;  // of a group
  static constexpr int kParts = Type::kShifts / 2;
  static constexpr int kThreads = iq1::kBlock / kSize;
  static constexpr int kBlock = iq1::kBlock;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 2;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = false;
  static constexpr bool kIsM = kParts == 2;
  struct State {
    int shift;
    uint32_t points[kOctets];
  };
  struct Shared {
    F32 scales[kThreads];
    int shifts[kThreads];
    uint16_t points[iq1::kOctets];
  };

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int thread,
                                       State* state, Shared* shared) {
    if constexpr (kPhase == 0) {
      Group group;
      LoadGroup(in, thread, &group);
      state->shift = 0;
      for (int o = 0; o < kOctets; ++o) {
        state->points[o] = 0;
      }
      shared->scales[thread] = FitGroup(*in.tables, group, state);
      shared->shifts[thread] = state->shift;
      for (int o = 0; o < kOctets; ++o) {
        shared->points[thread * kOctets + o] =
            static_cast<uint16_t>(state->points[o]);
      }
    } else {
      Store(in, thread, *state, *shared);
    }
  }

 private:
  struct Group {
    F32 x[kSize];
    F32 w[kSize];
  };

  // Values of the levels 0, 1, 2.
  NARROW_LANE_FUNCTION static F32 Value(bool down, int level) {
    return static_cast<float>(level - 1) + (down ? -0.125f : 0.125f);
  }

  template <class Input>
  NARROW_LANE_FUNCTION static F32 Variance(const Input& in) {
    return 2.0f * in.SumOfSquares(kBlock) / static_cast<float>(kBlock);
  }

  // What weight i of the block counts.
  template <class Input>
  NARROW_LANE_FUNCTION static F32 WeightOf(const Input& in, F32 variance, F32 x,
                                           int i) {
    if (in.importance == nullptr && kIsM) {
      return x * x;
    }
    const F32 root = Sqrt(variance + x * x);
    return in.importance != nullptr ? F32(in.importance[i]) * root : root;
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void LoadGroup(const Input& in, int thread,
                                             Group* group) {
    const F32 variance = Variance(in);
    in.template Load<kSize>(thread * kSize, group->x);
    for (int i = 0; i < kSize; ++i) {
      group->w[i] = WeightOf(in, variance, group->x[i], thread * kSize + i);
    }
  }

  // The scan so far.
  struct Scan {
    F32 gain;
    F32 scale;
    int ones;
    int twos;
    int shift;

    NARROW_LANE_FUNCTION void Try(F32 code_x, F32 code_square, int its_ones,
                                  int its_twos, int its_shift) {
      if (((code_square > F32{}) & (code_x * code_x > gain * code_square)).v !=
          0) {
        scale = code_x / code_square;
        gain = scale * code_x;
        ones = its_ones;
        twos = its_twos;
        shift = its_shift;
      }
    }
  };

  // Sums up to each place of the sorted weights, by octet for IQ1_M.
  struct Prefix {
    F32 x[kParts][kSize + 1];
    F32 w[kParts][kSize + 1];
  };

  NARROW_LANE_FUNCTION static void TryPair(const Prefix& sums, int ones,
                                           int twos, Scan* scan) {
    if constexpr (!kIsM) {
      const F32* x = sums.x[0];
      const F32* w = sums.w[0];
      const F32 mid_x = x[twos] - x[ones];
      const F32 mid_w = w[twos] - w[ones];
      const F32 high_x = x[kSize] - x[twos];
      const F32 high_w = w[kSize] - w[twos];
      for (int shift = 0; shift < 2; ++shift) {
        const F32 q0 = Value(shift != 0, 0);
        const F32 q1 = Value(shift != 0, 1);
        const F32 q2 = Value(shift != 0, 2);
        scan->Try(x[ones] * q0 + mid_x * q1 + high_x * q2,
                  w[ones] * q0 * q0 + mid_w * q1 * q1 + high_w * q2 * q2, ones,
                  twos, shift);
      }
    } else {
      F32 code_x[2][2];  // by octet, direction
      F32 code_square[2][2];
      for (int octet = 0; octet < 2; ++octet) {
        const F32* x = sums.x[octet % kParts];
        const F32* w = sums.w[octet % kParts];
        const F32 below_x = x[ones] + x[twos];
        for (int down = 0; down < 2; ++down) {
          const F32 q0 = Value(down != 0, 0);
          const F32 q1 = Value(down != 0, 1);
          const F32 q2 = Value(down != 0, 2);
          code_x[octet][down] = x[kSize] * q2 - below_x;
          code_square[octet][down] = w[kSize] * q2 * q2 +
                                     w[ones] * (q0 * q0 - q1 * q1) +
                                     w[twos] * (q1 * q1 - q2 * q2);
        }
      }
      for (int shift = 0; shift < 4; ++shift) {
        const int a = shift >> 1;
        const int b = shift & 1;
        scan->Try(code_x[0][a] + code_x[1][b],
                  code_square[0][a] + code_square[1][b], ones, twos, shift);
      }
    }
  }

  // The group's split: its scale, shift, and levels, two bits each; false if
  // there is none.
  NARROW_LANE_FUNCTION static bool FindSplit(const Group& group, F32* scale,
                                             int* shift, uint64_t* levels) {
    uint8_t order[kSize];
    for (int i = 0; i < kSize; ++i) {
      int at = i;
      for (; at > 0 && group.x[i].v < group.x[order[at - 1]].v; --at) {
        order[at] = order[at - 1];
      }
      order[at] = static_cast<uint8_t>(i);
    }
    Prefix sums;
    for (int part = 0; part < kParts; ++part) {
      sums.x[part][0] = sums.w[part][0] = F32{};
    }
    for (int i = 0; i < kSize; ++i) {
      const int k = order[i];
      for (int part = 0; part < kParts; ++part) {
        const bool here = !kIsM || k / kOctet == part;
        sums.x[part][i + 1] =
            here ? sums.x[part][i] + group.w[k] * group.x[k] : sums.x[part][i];
        sums.w[part][i + 1] =
            here ? sums.w[part][i] + group.w[k] : sums.w[part][i];
      }
    }
    Scan scan = {-3.40282347e+38f, 0.0f, -1, -1, 0};
    for (int ones = 0; ones <= kSize; ++ones) {
      for (int twos = ones; twos <= kSize; ++twos) {
        TryPair(sums, ones, twos, &scan);
      }
    }
    if (scan.ones < 0) {
      return false;
    }
    // Negative scales become positive by turning all signs.
    const bool turn = scan.scale.v < 0;
    *scale = turn ? -scan.scale : scan.scale;
    *shift = turn ? Type::kShifts - 1 - scan.shift : scan.shift;
    *levels = 0;
    for (int i = 0; i < kSize; ++i) {
      const int level = (i >= scan.ones) + (i >= scan.twos);
      *levels |= static_cast<uint64_t>(turn ? 2 - level : level)
                 << (2 * order[i]);
    }
    return true;
  }

  // What each coordinate of an octet costs at each level. Which one is taken
  // is selected, not looked up: registers have no index.
  struct Costs {
    F32 low[kOctet];
    F32 middle[kOctet];
    F32 high[kOctet];

    // Whether the octet is orderly (iq1/near_lists.h) at the levels' number.
    NARROW_LANE_FUNCTION bool Make(const F32* x, const F32* w, F32 scale,
                                   bool down, int number) {
      bool orderly = true;
      for (int i = 0; i < kOctet; ++i) {
        const F32 miss_low = scale * Value(down, 0) - x[i];
        const F32 miss_middle = scale * Value(down, 1) - x[i];
        const F32 miss_high = scale * Value(down, 2) - x[i];
        low[i] = w[i] * miss_low * miss_low;
        middle[i] = w[i] * miss_middle * miss_middle;
        high[i] = w[i] * miss_high * miss_high;
        const int level = number % 3;
        number /= 3;
        orderly &=
            level == 0 ? low[i].v <= middle[i].v : middle[i].v <= low[i].v;
        orderly &=
            level == 2 ? high[i].v <= middle[i].v : middle[i].v <= high[i].v;
      }
      return orderly;
    }
    NARROW_LANE_FUNCTION F32 Of(uint32_t word) const {
      F32 error = {};
      for (int i = 0; i < kOctet; ++i) {
        const uint32_t level = word >> (2 * i) & 3;
        error += level == 0 ? low[i] : level == 1 ? middle[i] : high[i];
      }
      return error;
    }
  };

  // The first of the points near the levels with the least error, among those
  // that can win; `place` is that of the whole list.
  NARROW_LANE_FUNCTION static int NearestOf(const LatticeTables& tables,
                                            int number, int place, const F32* x,
                                            const F32* w, F32 scale,
                                            bool down) {
    Costs costs;
    const bool orderly = costs.Make(x, w, scale, down, number);
    const int32_t* entry = tables.near_entries + 3 * number;
    const uint16_t* words = tables.near_words + entry[orderly ? 0 : 1];
    const auto lengths = static_cast<uint32_t>(entry[2]);
    const int n = static_cast<int>(orderly ? lengths & 0xffff : lengths >> 16);
    F32 least = 3.40282347e+38f;
    uint32_t best = ~0u;
    for (int j = 0; j < n; ++j) {
      const F32 error = costs.Of(words[j]);
      if ((error < least).v != 0) {
        least = error;
        best = words[j];
      }
    }
    if (best == ~0u) {  // none is finite
      return tables.lists[place + 1];
    }
    int found = 0;
    for (int i = kOctet - 1; i >= 0; --i) {
      found = 3 * found + static_cast<int>(best >> (2 * i) & 3);
    }
    return tables.entries[found];
  }

  // Sums over octets of points: numerator and denominator of a scale.
  struct Sums {
    F32 code_x;
    F32 code_square;

    NARROW_LANE_FUNCTION void Add(const LatticeTables& tables, int point, int i,
                                  F32 x, F32 w, bool down, F32 times) {
      const int level = tables.levels[kOctet * point + i];
      const F32 code = Value(down, level) * times;
      code_x += w * code * x;
      code_square += w * code * code;
    }
  };

  NARROW_LANE_FUNCTION static F32 FitGroup(const LatticeTables& tables,
                                           const Group& group, State* state) {
    F32 largest = {};
    for (int i = 0; i < kSize; ++i) {
      largest = Select(Abs(group.x[i]) > largest, Abs(group.x[i]), largest);
    }
    F32 scale;
    uint64_t levels;
    if (largest.v < Type::kZeroLimit ||
        !FindSplit(group, &scale, &state->shift, &levels)) {
      return F32{};
    }
    bool exact = true;
    for (int o = 0; o < kOctets; ++o) {
      int number = 0;
      for (int i = kOctet - 1; i >= 0; --i) {
        number =
            3 * number + static_cast<int>(levels >> (2 * (o * kOctet + i)) & 3);
      }
      const int32_t entry = tables.entries[number];
      exact &= entry >= 0;
      state->points[o] = static_cast<uint32_t>(
          entry >= 0 ? entry
                     : NearestOf(tables, number, ~entry, group.x + o * kOctet,
                                 group.w + o * kOctet, scale,
                                 IsDown(state->shift, o)));
    }
    if (exact) {
      return scale;
    }
    Sums sums = {F32{}, F32{}};
    for (int i = 0; i < kSize; ++i) {
      const int o = i / kOctet;
      sums.Add(tables, static_cast<int>(state->points[o]), i % kOctet,
               group.x[i], group.w[i], IsDown(state->shift, o), 1.0f);
    }
    return Select((sums.code_x > F32{}) & (sums.code_square > F32{}),
                  sums.code_x / sums.code_square, scale);
  }

  // As Type::IsDown.
  NARROW_LANE_FUNCTION static bool IsDown(int shift, int octet) {
    return kIsM ? (shift >> (1 - octet) & 1) != 0 : shift != 0;
  }

  template <class Input>
  NARROW_LANE_FUNCTION static void Store(const Input& in, int thread,
                                         const State& state,
                                         const Shared& shared) {
    F32 largest = {};
    for (int g = 0; g < kThreads; ++g) {
      largest = Select(largest > shared.scales[g], largest, shared.scales[g]);
    }
    const bool empty = largest.v == 0;
    F32 d = empty ? F32{} : largest / 15.0f;
    const F32 inverse = 1.0f / d;
    const auto stored = [&](int g) {
      const I32 nearest =
          ClampInt(RoundToInt(0.5f * (inverse * shared.scales[g] - 1.0f)), 0,
                   iq1::kScaleHigh);
      return empty ? 0u : static_cast<uint32_t>(nearest.v);
    };
    if constexpr (kIsM) {
      if (!empty) {
        d = RefitUnit(in, shared, stored, d) * Type::kFactor;
      }
    } else {
      d = d * Type::kFactor;
    }
    // Without scales, points are stored, but no shifts.
    const auto shift = static_cast<uint32_t>(empty ? 0 : state.shift);
    Place(Type(), in, thread, state, shift, stored, d);
  }

  // The unit once more, for what was rounded.
  template <class Input, class Stored>
  NARROW_LANE_FUNCTION static F32 RefitUnit(const Input& in,
                                            const Shared& shared,
                                            const Stored& stored, F32 d) {
    const F32 variance = in.importance != nullptr ? Variance(in) : F32{};
    Sums sums = {F32{}, F32{}};
    for (int o = 0; o < iq1::kOctets; ++o) {
      const int g = o / kOctets;
      const F32 times = static_cast<float>(2 * static_cast<int>(stored(g)) + 1);
      const bool down = IsDown(shared.shifts[g], o % kOctets);
      for (int i = 0; i < kOctet; ++i) {
        const F32 x = in.At(o * kOctet + i);
        sums.Add(*in.tables, shared.points[o], i, x,
                 WeightOf(in, variance, x, o * kOctet + i), down, times);
      }
    }
    return Select(sums.code_square > F32{}, sums.code_x / sums.code_square, d);
  }

  template <class Input, class Stored>
  NARROW_LANE_FUNCTION static void Place(iq1::IQ1_S, const Input& in, int g,
                                         const State& state, uint32_t shift,
                                         const Stored& stored, F32 d) {
    if (g == 0) {
      in.StoreUnit(d, 0);
    }
    uint32_t field = stored(g) << 12 | shift << 15;
    for (int o = 0; o < kOctets; ++o) {
      const uint32_t point = state.points[o];
      in.bytes[2 + 4 * g + o] = static_cast<uint8_t>(point);
      field |= point >> 8 << (3 * o);
    }
    StoreHalves(static_cast<int32_t>(field), 1, in.bytes + 34 + 2 * g, 0);
  }

  template <class Input, class Stored>
  NARROW_LANE_FUNCTION static void Place(iq1::IQ1_M, const Input& in, int g,
                                         const State& state, uint32_t shift,
                                         const Stored& stored, F32 d) {
    const uint32_t first = state.points[0];
    const uint32_t second = state.points[kOctets - 1];
    in.bytes[2 * g] = static_cast<uint8_t>(first);
    in.bytes[2 * g + 1] = static_cast<uint8_t>(second);
    in.bytes[32 + g] = static_cast<uint8_t>(
        first >> 8 | (shift >> 1) << 3 | (second >> 8) << 4 | (shift & 1) << 7);
    if (g % 4 == 0) {
      in.CheckUnit(d);
      uint32_t word = static_cast<uint32_t>(F16FromFloat(d).v) >> g << 12;
      for (int k = 0; k < 4; ++k) {
        word |= stored(g + k) << (3 * k);
      }
      StoreHalves(static_cast<int32_t>(word), 1, in.bytes + 48 + g / 2, 0);
    }
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_IQ1_TEAM_H_
