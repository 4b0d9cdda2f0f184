// Short blocks of consecutive weights under one scale each, as the work of
// threads: what converter/solvers/runs/block_scales.cc does sixteen at a time,
// a thread a block. Blocks stand side by side while their scales are chosen, so
// that neighbouring threads read neighbouring memory; every block has the
// operations of the processor in their order.
//
// Tested by device_runs_test.

#ifndef NARROW_KERNELS_RUNS_DEVICE_BLOCK_THREADS_H_
#define NARROW_KERNELS_RUNS_DEVICE_BLOCK_THREADS_H_

#include <cstdint>

#include "kernels/runs/run_candidates.h"
#include "kernels/runs/run_lanes.h"

namespace narrow {
namespace run_threads {

// A block's sums of squared errors: of zeros, under the first candidate, under
// what was chosen.
struct BlockErrors {
  float energy;
  float before;
  float after;
};

// The same of many blocks.
struct PartErrors {
  double energy;
  double before;
  double after;
};

// What the weights of a block count: importances of their columns, which go on
// in the next row.
struct ColumnWeights {
  NARROW_LANE_FUNCTION float operator()(int64_t i) const {
    uint32_t at = column + static_cast<uint32_t>(i);
    if (at >= n_cols) {
      at = at - n_cols < n_cols ? at - n_cols : at % n_cols;
    }
    return importance[at];
  }
  const float* importance;
  uint32_t column;  // of the first weight
  uint32_t n_cols;
};

// Scales of whole blocks. Pointers are the device's.
struct ChooseTask {
  static constexpr bool kGrids = true;
  RunGrid grid;
  RunCandidates candidates;
  int n_refits;
  int64_t block;
  int64_t n_blocks;
  int64_t n_cols;
  int64_t first;            // number of the first weight in its matrix
  const float* weights;     // [n_blocks, block]
  const float* importance;  // [n_cols], or null
  float* x;                 // [block, n_blocks], side by side
  float* scales;            // [n_blocks]
  BlockErrors* errors;      // the same

  NARROW_LANE_FUNCTION int64_t n() const { return n_blocks; }

  template <class Grid>
  NARROW_LANE_FUNCTION void Run(int64_t b) const {
    const float* const from = weights + b * block;
    float top = 0;
    for (int64_t i = 0; i < block; ++i) {
      const float v = from[i];
      x[i * n_blocks + b] = v;
      top = run_lanes::Max(run_lanes::Abs(v), top);
    }
    const int64_t column = (first + b * block) % n_cols;
    const ColumnWeights weight_of = {importance, static_cast<uint32_t>(column),
                                     static_cast<uint32_t>(n_cols)};
    if (importance != nullptr) {
      Choose<Grid, true>(b, top, weight_of);
    } else {
      Choose<Grid, false>(b, top, weight_of);
    }
  }

 private:
  template <class Grid, bool kWeighted>
  NARROW_LANE_FUNCTION void Choose(int64_t b, float top,
                                   const ColumnWeights& weight_of) const {
    const float* const mine = x + b;
    const Grid typed(grid);
    RunGrid zero;  // nothing but 0
    zero.low = 0;
    zero.high = 0;
    const RunStart start = StartRun(candidates, top);
    float best = CandidateAt(candidates, start, 0);
    BlockErrors sums;
    sums.energy = run_lanes::ErrorsAside<kWeighted>(
        run_lanes::IntegerGrid(zero), mine, n_blocks, weight_of, block, best);
    sums.before = run_lanes::ErrorsAside<kWeighted>(typed, mine, n_blocks,
                                                    weight_of, block, best);
    sums.after = sums.before;
    if (candidates.n > 1) {
      float other;
      float its_error;
      const NextCandidates others = {candidates, start};
      run_lanes::ChooseAside<kWeighted>(typed, mine, n_blocks, weight_of, block,
                                        others, candidates.n - 1, &other,
                                        &its_error);
      if (its_error < sums.after) {
        best = other;
        sums.after = its_error;
      }
    }
    run_lanes::RefitAside<kWeighted>(typed, mine, n_blocks, weight_of, block,
                                     n_refits, &best, &sums.after);
    scales[b] = best;
    errors[b] = sums;
  }

  // All but the first.
  struct NextCandidates {
    NARROW_LANE_FUNCTION float operator()(int64_t c) const {
      return CandidateAt(candidates, start, static_cast<int>(c) + 1);
    }
    const RunCandidates& candidates;
    const RunStart start;
  };
};

// Errors of `part_blocks` blocks each, a multiple of 16: the sums of sixteens
// added up.
struct PartTask {
  static constexpr bool kGrids = false;
  int64_t part_blocks;
  int64_t n_blocks;
  const BlockErrors* errors;
  PartErrors* parts;

  NARROW_LANE_FUNCTION int64_t n() const {
    return (n_blocks + part_blocks - 1) / part_blocks;
  }
  NARROW_LANE_FUNCTION void Run(int64_t p) const {
    const int64_t rest = n_blocks - p * part_blocks;
    const int64_t end =
        p * part_blocks + (rest < part_blocks ? rest : part_blocks);
    PartErrors sums = {0, 0, 0};
    for (int64_t b = p * part_blocks; b < end; b += kRunsAside) {
      PartErrors aside = {0, 0, 0};
      for (int64_t k = b; k < end && k < b + kRunsAside; ++k) {
        aside.energy += static_cast<double>(errors[k].energy);
        aside.before += static_cast<double>(errors[k].before);
        aside.after += static_cast<double>(errors[k].after);
      }
      sums.energy += aside.energy;
      sums.before += aside.before;
      sums.after += aside.after;
    }
    parts[p] = sums;
  }
};

// Codes under the scales, a weight a thread.
struct RoundBlocksTask {
  static constexpr bool kGrids = true;
  RunGrid grid;
  bool divides;
  int64_t block;
  int64_t n_weights;
  const float* weights;
  const float* scales;
  uint8_t* codes;

  NARROW_LANE_FUNCTION int64_t n() const { return n_weights; }

  template <class Grid>
  NARROW_LANE_FUNCTION void Run(int64_t i) const {
    const float scale = scales[i / block];
    const float y = divides ? weights[i] / scale : weights[i] * (1.0f / scale);
    codes[i] = static_cast<uint8_t>(Grid(grid).Code(y));
  }
};

}  // namespace run_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_BLOCK_THREADS_H_
