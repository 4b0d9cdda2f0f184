// Weights under one scale: every one is read and its code written, whatever
// is tried meanwhile; that is the limit.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/solver_bench.h"
#include "kernels/runs/device/run_task.h"
#include "kernels/runs/run_candidates.h"

namespace narrow {
namespace {

using run_threads::BlockErrors;

constexpr double kBytesPerWeight = 5;

class RunBench {
 public:
  RunBench(const SolverSizes& sizes, Bench* bench)
      : bench_(*bench), n_rows_(sizes.n_rows), n_cols_(sizes.n_cols) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(codes_, bench_.Allocate(n_weights()));
    RunGrid table;
    table.kind = RunGrid::Kind::kTable;
    for (int i = 0; i < 16; ++i) {
      table.values[i] = static_cast<float>(i - 7) / 8;
      table.codes[i] = static_cast<uint8_t>(i);
    }
    for (int i = 0; i < 15; ++i) {
      table.bounds[i] = (table.values[i] + table.values[i + 1]) / 2;
    }
    RunCandidates largest;
    RETURN_IF_ERROR(Blocks("a table of 16, blocks of 64", table, largest, 64));
    RunGrid e2m1;
    e2m1.kind = RunGrid::Kind::kE2M1;
    RunCandidates twelve;
    twelve.kind = RunCandidates::Kind::kE4M3;
    twelve.n = 12;
    twelve.steps_below = 4;
    RETURN_IF_ERROR(Blocks("E2M1, 12 scales of 16", e2m1, twelve, 16));
    return Rows();
  }

 private:
  int64_t n_weights() const { return n_rows_ * n_cols_; }
  absl::Status Blocks(const std::string& name, const RunGrid& grid,
                      const RunCandidates& candidates, int64_t block) {
    const int64_t n_blocks = n_weights() / block;
    ASSIGN_OR_RETURN(const DeviceBuffer scales, bench_.Allocate(4 * n_blocks));
    ASSIGN_OR_RETURN(
        const DeviceBuffer errors,
        bench_.Allocate(n_blocks * static_cast<int64_t>(sizeof(BlockErrors))));
    run_threads::ChooseTask choose = {};
    choose.grid = grid;
    choose.candidates = candidates;
    choose.block = block;
    choose.n_blocks = n_blocks;
    choose.n_cols = n_cols_;
    choose.weights = bench_.in();
    choose.x = bench_.out();
    choose.scales = scales.as<float>();
    choose.errors = errors.as<BlockErrors>();
    const run_threads::RoundBlocksTask round = {grid,
                                                false,
                                                block,
                                                n_blocks * block,
                                                bench_.in(),
                                                scales.as<float>(),
                                                codes_.as<uint8_t>()};
    return bench_.Bytes(
        name, kBytesPerWeight * static_cast<double>(round.n_weights), [&] {
          RETURN_IF_ERROR(RunOnDevice(choose, bench_.stream()));
          return RunOnDevice(round, bench_.stream());
        });
  }

  // Sixteen scales of a row.
  absl::Status Rows() {
    const run_threads::Spans spans = {n_rows_, n_cols_, 1, n_cols_};
    constexpr int kScales = run_threads::kMostScales;
    std::vector<float> trials(static_cast<size_t>(n_rows_ * kScales));
    for (size_t i = 0; i < trials.size(); ++i) {
      trials[i] = 0.01f * static_cast<float>(1 + i % kScales);
    }
    ASSIGN_OR_RETURN(const DeviceBuffer d_trials,
                     bench_.Allocate(4 * n_rows_ * kScales));
    ASSIGN_OR_RETURN(
        const DeviceBuffer sums,
        bench_.Allocate(spans.n() * spans.most_pieces() * kScales *
                        static_cast<int64_t>(sizeof(run_threads::Sums))));
    RETURN_IF_ERROR(bench_.stream()->Copy(trials.data(), d_trials.n_bytes(),
                                          d_trials.data()));
    RETURN_IF_ERROR(bench_.stream()->Synchronize("bench"));
    RunGrid e4m3;
    e4m3.kind = RunGrid::Kind::kE4M3;
    const run_threads::MeasureTask measure = {spans,
                                              e4m3,
                                              1.0f,
                                              kScales,
                                              d_trials.as<float>(),
                                              bench_.in(),
                                              nullptr,
                                              sums.as<run_threads::Sums>()};
    return bench_.Bytes(
        absl::StrCat("E4M3, errors under ", kScales, " scales a row"),
        4 * static_cast<double>(n_weights()),
        [&] { return RunOnDevice(measure, bench_.stream()); });
  }

  Bench& bench_;
  const int64_t n_rows_;
  const int64_t n_cols_;
  DeviceBuffer codes_;
};

}  // namespace

absl::Status BenchRuns(const SolverSizes& sizes, Bench* bench) {
  return RunBench(sizes, bench).Run();
}

}  // namespace narrow
