// All teams, under the names of teams.inc.

#ifndef NARROW_KERNELS_QUANT_TEAM_TEAMS_H_
#define NARROW_KERNELS_QUANT_TEAM_TEAMS_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/team/block32_team.h"
#include "kernels/quant/team/iq1_team.h"
#include "kernels/quant/team/iq2_team.h"
#include "kernels/quant/team/iq3_team.h"
#include "kernels/quant/team/iq4_team.h"
#include "kernels/quant/team/k_team.h"
#include "kernels/quant/team/number_team.h"

namespace narrow {
namespace team {

template <class Type>
using PlainBlock32 = Block32Team<Type, false>;
template <class Type>
using WeightedBlock32 = Block32Team<Type, true>;
template <class Type>
using PlainAffine = AffineTeam<Type, false>;
template <class Type>
using ImportanceAffine = AffineTeam<Type, true>;
template <class Type>
using PlainSymmetric = SymmetricTeam<Type, false>;
template <class Type>
using ImportanceSymmetric = SymmetricTeam<Type, true>;
using MxTeam = Fp4Team<fp4_lanes::Mx, 1>;
using NvTeam = Fp4Team<fp4_lanes::Nv, fp4::kNvSubBlocks>;

// Whether the team's blocks are weighed by their row's mean square.
template <class Team>
constexpr bool NeedsMeanSquares() {
  return Team::kMeanSquares;
}

// The mean square of a task's row, summed in the order of the columns.
NARROW_LANE_FUNCTION F32 MeanSquareOf(const EncodeTask& task, int64_t row) {
  F32 sum = {};
  for (int64_t i = 0; i < task.n_cols; ++i) {
    const F32 x = WeightAt(task.weights, task.is_bf16, row * task.n_cols + i);
    sum += x * x;
  }
  return sum / static_cast<float>(task.n_cols);
}

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_TEAMS_H_
