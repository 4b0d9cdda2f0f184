// Q8_0, Q4_0, Q4_1, Q5_0, Q5_1: a thread a block, by block32_lanes.h.

#ifndef NARROW_KERNELS_QUANT_TEAM_BLOCK32_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_BLOCK32_TEAM_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/block32/block32_lanes.h"

namespace narrow {
namespace team {

// `Type` is one of block32_lanes.h; kWeighted: whether there is importance,
// which asks for the mean squares of rows.
template <class Type, bool kWeighted>
struct Block32Team {
  static constexpr int kThreads = 1;
  static constexpr int kBlock = 32;
  static constexpr int kBytes = Type::kBytes;
  static constexpr int kPhases = 1;
  static constexpr bool kChecked = true;
  static constexpr bool kMeanSquares = kWeighted;
  using State = Nothing;
  using Shared = Nothing;

  template <int kPhase, class Input>
  NARROW_LANE_FUNCTION static void Run(const Input& in, int /*thread*/,
                                       State* /*state*/, Shared* /*shared*/) {
    F32 x[kBlock];
    I32 codes[kBlock];
    in.template Load<kBlock>(0, x);
    if constexpr (kWeighted) {
      F32 w[kBlock];
      in.template LoadImportance<kBlock>(0, w);
      for (int i = 0; i < kBlock; ++i) {
        w[i] = w[i] * Sqrt(in.mean_square + x[i] * x[i]);
      }
      Write(in, Type::Weighted(x, w, codes), codes);
    } else {
      Write(in, Type::Plain(x, codes), codes);
    }
  }

 private:
  template <class Input>
  NARROW_LANE_FUNCTION static void Write(const Input& in,
                                         const block32_lanes::Lines& lines,
                                         const I32* codes) {
    in.CheckUnit(lines.d);
    in.CheckUnit(lines.low);
    Type::Write(lines, codes, 1, in.bytes, kBytes);
  }
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_BLOCK32_TEAM_H_
