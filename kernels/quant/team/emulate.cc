#include "kernels/quant/team/emulate.h"

#include <memory>

#include "kernels/quant/team/teams.h"
// (Before any header of lanes.)
#include "kernels/quant/team/decode_at.h"

namespace narrow {
namespace team {
namespace {

// Phase kPhase and those after it, of one block.
template <class Team, int kPhase, class Input>
void RunPhases(const Input& in, typename Team::State* states,
               typename Team::Shared* shared) {
  if constexpr (kPhase < Team::kPhases) {
    for (int thread = 0; thread < Team::kThreads; ++thread) {
      Team::template Run<kPhase>(in, thread, states + thread, shared);
    }
    RunPhases<Team, kPhase + 1>(in, states, shared);
  }
}

template <class Team>
void EncodeBlocks(const EncodeTask& task) {
  const int64_t n_blocks = task.n_rows * (task.n_cols / Team::kBlock);
  auto states = std::make_unique<typename Team::State[]>(Team::kThreads);
  auto shared = std::make_unique<typename Team::Shared>();
  for (int64_t block = 0; block < n_blocks; ++block) {
    bool failed = false;
    const BlockInput in =
        InputOf(task, block, Team::kBlock, Team::kBytes, &failed);
    for (int thread = 0; Team::kChecked && thread < Team::kThreads; ++thread) {
      failed |= !InputIsFinite<Team>(in, thread);
    }
    RunPhases<Team, 0>(in, states.get(), shared.get());
    if (failed) {
      task.failed[block] = 1;
      ++*task.n_failed;
    }
  }
}

template <class Plain, class Weighted>
void Encode(const EncodeTask& task) {
  if (task.importance == nullptr) {
    EncodeBlocks<Plain>(task);
    return;
  }
  if constexpr (NeedsMeanSquares<Weighted>()) {
    for (int64_t row = 0; row < task.n_rows; ++row) {
      task.mean_squares[row] = MeanSquareOf(task, row).v;
    }
  }
  EncodeBlocks<Weighted>(task);
}

template <class Decode>
void DecodeBlocks(const DecodeTask& task) {
  for (int64_t i = 0; i < task.n_blocks * Decode::kBlock; ++i) {
    DecodeWeight<Decode>(task, i);
  }
}

}  // namespace

bool HasTeam(QuantType type) {
  switch (type) {
#define NARROW_TEAM(group, name, ...) case QuantType::k##name:
#include "kernels/quant/team/teams.inc"
#undef NARROW_TEAM
    return true;
    default:
      return false;
  }
}

void Emulate(QuantType type, const EncodeTask& task) {
  switch (type) {
#define NARROW_TEAM(group, name, ...) \
  case QuantType::k##name:            \
    return Encode<__VA_ARGS__>(task);
#include "kernels/quant/team/teams.inc"
#undef NARROW_TEAM
    default:
      return;
  }
}

void Emulate(QuantType type, const DecodeTask& task) {
  switch (type) {
#define NARROW_TEAM(group, name, ...) \
  case QuantType::k##name:            \
    return DecodeBlocks<Decode##name>(task);
#include "kernels/quant/team/teams.inc"
#undef NARROW_TEAM
    default:
      return;
  }
}

}  // namespace team
}  // namespace narrow
