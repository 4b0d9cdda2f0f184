// Scales to try for a run of which the largest magnitude is known, as data:
// the same on the processor and on a card.
//
//   RunCandidates candidates;
//   candidates.kind = RunCandidates::Kind::kE4M3;  candidates.n = 12;
//   const RunStart start = StartRun(candidates, top);
//   const float first = CandidateAt(candidates, start, 0);
//
// Pure functions; the peers' own choice is candidate 0.

#ifndef NARROW_KERNELS_RUNS_RUN_CANDIDATES_H_
#define NARROW_KERNELS_RUNS_RUN_CANDIDATES_H_

#include <cstdint>

#include "kernels/runs/run_lanes.h"

namespace narrow {

inline constexpr int kMostCandidates = 16;

struct RunCandidates {
  enum class Kind : int {
    kTimes,  // the largest magnitude, at least `least`, times factors[c]
    kE4M3,   // E4M3 numbers near `global` * top / 6, over `global`
    kE8M0,   // powers of two near top / 4
  };
  Kind kind = Kind::kTimes;
  int n = 1;  // 1 ... kMostCandidates
  // kTimes. Runs of magnitudes below `least_searched` have the factor 1: of
  // the smallest numbers squares would vanish.
  float factors[kMostCandidates] = {1};
  float least = 0;
  float least_searched = 0;
  // kE4M3: NVFP4's scale of the tensor, and how many steps down the second
  // candidate lies.
  float global = 1;
  int steps_below = 0;
};

// What all candidates of a run have in common.
struct RunStart {
  float top;
  int32_t peers;  // byte of the peers' scale
};

// NVFP4: the largest magnitude over 6, times the global scale, in E4M3; 0.125
// where that is 0, as compressed-tensors has it. MXFP4: the exponent of a
// quarter of it; from a mantissa of 1.75 up the next one, for which a quarter
// of the mantissa's range is added.
NARROW_LANE_FUNCTION RunStart StartRun(const RunCandidates& candidates,
                                       float top) {
  if (candidates.kind == RunCandidates::Kind::kE4M3) {
    constexpr int32_t kEighth = 0x20;
    const int32_t byte =
        run_lanes::E4M3Grid(RunGrid()).Code(candidates.global * (top / 6.0f));
    return {top, byte == 0 ? kEighth : byte};
  }
  if (candidates.kind == RunCandidates::Kind::kE8M0) {
    const int32_t byte = ((run_lanes::AsInts(top) + (1 << 21)) >> 23) - 2;
    return {top, byte < 1 ? 1 : byte > 253 ? 253 : byte};
  }
  return {top, 0};
}

// Neighbours beyond the ends are the ends.
NARROW_LANE_FUNCTION float CandidateAt(const RunCandidates& candidates,
                                       const RunStart& start, int c) {
  if (candidates.kind == RunCandidates::Kind::kE4M3) {
    const int below = c - 1 - candidates.steps_below;
    const int step = c == 0 ? 0 : below < 0 ? below : below + 1;
    int32_t byte = start.peers + step;
    if (c > 0) {
      byte = byte < 1 ? 1 : byte > 0x7e ? 0x7e : byte;
    }
    const float value = byte < 8 ? static_cast<float>(byte) * 0x1p-9f
                                 : run_lanes::AsFloats((byte + 960) << 20);
    return value / candidates.global;
  }
  if (candidates.kind == RunCandidates::Kind::kE8M0) {
    int32_t byte = start.peers + (c == 0 ? 0 : c == 1 ? -1 : 1);
    byte = byte < 1 ? 1 : byte > 253 ? 253 : byte;
    return run_lanes::AsFloats(byte << 23);
  }
  const bool is_tiny = start.top < candidates.least_searched;
  const float size =
      start.top < candidates.least ? candidates.least : start.top;
  return size * (is_tiny ? 1.0f : candidates.factors[c]);
}

}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_RUN_CANDIDATES_H_
