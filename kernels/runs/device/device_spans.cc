#include "kernels/runs/device/device_spans.h"

#include <algorithm>
#include <cassert>

#include "formats/base/status.h"
#include "kernels/runs/device/run_task.h"

namespace narrow {

using run_threads::BeginTask;
using run_threads::JudgeTask;
using run_threads::kMostScales;
using run_threads::MeasureTask;
using run_threads::RoundSpansTask;
using run_threads::Spans;
using run_threads::SpanState;
using run_threads::SquaresTask;
using run_threads::SumPartsTask;
using run_threads::Sums;
using run_threads::TopTask;

namespace {

// Some bands of a problem on their way.
class Batch {
 public:
  Batch(const Device& device, const SpanProblem& problem, int64_t first_row,
        int64_t n_rows)
      : device_(device),
        problem_(problem),
        first_row_(first_row),
        spans_{n_rows, problem.n_cols, problem.height, problem.width},
        n_scales_(static_cast<int>(problem.factors.size()) + 1) {}

  // All memory first: only this may be too much.
  absl::Status Allocate() {
    const size_t n_spans = static_cast<size_t>(spans_.n());
    const size_t n_pieces = n_spans * static_cast<size_t>(spans_.most_pieces());
    const size_t n_parts = n_spans * static_cast<size_t>(spans_.most_parts());
    const size_t n_scales = static_cast<size_t>(n_scales_);
    const size_t n_weights = static_cast<size_t>(spans_.n_rows * spans_.n_cols);
    RETURN_IF_ERROR(New(4 * n_weights, &weights_));
    RETURN_IF_ERROR(New(n_weights, &codes_));
    RETURN_IF_ERROR(New(4 * problem_.importance.size(), &importance_));
    RETURN_IF_ERROR(New(4 * n_pieces, &tops_));
    RETURN_IF_ERROR(New(n_pieces * n_scales * sizeof(Sums), &sums_));
    RETURN_IF_ERROR(New(n_parts * n_scales * sizeof(Sums), &parts_));
    RETURN_IF_ERROR(New(4 * n_spans * n_scales, &trials_));
    RETURN_IF_ERROR(New(4 * n_spans, &next_));
    RETURN_IF_ERROR(New(n_spans * sizeof(SpanState), &states_));
    return New(8 * static_cast<size_t>(spans_.n_rows), &energies_);
  }

  absl::Status Run(SpanResults* results) {
    ASSIGN_OR_RETURN(stream_, device_.NewStream());
    RETURN_IF_ERROR(
        stream_.Copy(problem_.weights + first_row_ * problem_.n_cols,
                     static_cast<size_t>(4 * spans_.n_rows * spans_.n_cols),
                     weights_.data()));
    RETURN_IF_ERROR(stream_.Copy(problem_.importance.data(),
                                 4 * problem_.importance.size(),
                                 importance_.data()));
    RETURN_IF_ERROR(Search());
    const RoundSpansTask round = {spans_,
                                  problem_.grid,
                                  problem_.division == RunDivision::kDivide,
                                  problem_.unit,
                                  problem_.inverse_unit,
                                  states_.as<SpanState>(),
                                  weights_.as<float>(),
                                  codes_.as<uint8_t>()};
    RETURN_IF_ERROR(RunOnDevice(round, &stream_));
    const SquaresTask squares = {
        spans_.n_rows, spans_.n_cols,           weights_.as<float>(),
        nullptr,       importance_.as<float>(), energies_.as<double>()};
    RETURN_IF_ERROR(RunOnDevice(squares, &stream_));
    return Read(results);
  }

 private:
  absl::Status New(size_t n_bytes, DeviceBuffer* to) {
    ASSIGN_OR_RETURN(*to, device_.Allocate(n_bytes, problem_.name));
    return absl::OkStatus();
  }

  absl::Status Measure(int n_scales, const float* trials) {
    const MeasureTask measure = {spans_,
                                 problem_.grid,
                                 problem_.unit,
                                 n_scales,
                                 trials,
                                 weights_.as<float>(),
                                 importance_.as<float>(),
                                 sums_.as<Sums>()};
    RETURN_IF_ERROR(RunOnDevice(measure, &stream_));
    const SumPartsTask add = {spans_, n_scales, trials, sums_.as<Sums>(),
                              parts_.as<Sums>()};
    return RunOnDevice(add, &stream_);
  }

  absl::Status Search() {
    RETURN_IF_ERROR(RunOnDevice(
        TopTask{spans_, weights_.as<float>(), tops_.as<float>()}, &stream_));
    BeginTask begin = {};
    begin.spans = spans_;
    begin.stored = problem_.stored;
    begin.over = problem_.over;
    begin.n_scales = n_scales_;
    begin.factors[0] = 1;
    std::copy(problem_.factors.begin(), problem_.factors.end(),
              begin.factors + 1);
    begin.tops = tops_.as<float>();
    begin.states = states_.as<SpanState>();
    begin.trials = trials_.as<float>();
    RETURN_IF_ERROR(RunOnDevice(begin, &stream_));
    for (int round = 0; round <= problem_.n_refits; ++round) {
      const bool is_first = round == 0;
      const int n_scales = is_first ? n_scales_ : 1;
      const float* const trials =
          is_first ? trials_.as<float>() : next_.as<float>();
      RETURN_IF_ERROR(Measure(n_scales, trials));
      const JudgeTask judge = {spans_,
                               problem_.stored,
                               problem_.unit,
                               n_scales,
                               is_first,
                               round == problem_.n_refits,
                               parts_.as<Sums>(),
                               trials,
                               next_.as<float>(),
                               states_.as<SpanState>()};
      RETURN_IF_ERROR(RunOnDevice(judge, &stream_));
    }
    return absl::OkStatus();
  }

  absl::Status Read(SpanResults* results) {
    std::vector<SpanState> states(static_cast<size_t>(spans_.n()));
    const size_t first_span =
        static_cast<size_t>(first_row_ / problem_.height * spans_.across());
    const int64_t first = first_row_ * problem_.n_cols;
    RETURN_IF_ERROR(stream_.Copy(
        states_.data(), states.size() * sizeof(SpanState), states.data()));
    RETURN_IF_ERROR(stream_.Copy(codes_.data(), codes_.n_bytes(),
                                 results->codes.data() + first));
    RETURN_IF_ERROR(stream_.Copy(energies_.data(), energies_.n_bytes(),
                                 results->energies.data() + first_row_));
    RETURN_IF_ERROR(stream_.Synchronize(problem_.name));
    for (size_t i = 0; i < states.size(); ++i) {
      results->scales[first_span + i] = states[i].scale;
      results->before[first_span + i] = states[i].before;
      results->after[first_span + i] = states[i].least.error;
    }
    return absl::OkStatus();
  }

  const Device& device_;
  const SpanProblem& problem_;
  const int64_t first_row_;
  const Spans spans_;
  const int n_scales_;
  DeviceStream stream_;
  DeviceBuffer weights_;
  DeviceBuffer codes_;
  DeviceBuffer importance_;
  DeviceBuffer tops_;
  DeviceBuffer sums_;
  DeviceBuffer parts_;
  DeviceBuffer trials_;
  DeviceBuffer next_;
  DeviceBuffer states_;
  DeviceBuffer energies_;
};

}  // namespace

absl::Status SolveSpans(
    const Device& device, const SpanProblem& problem,
    const std::function<void(int64_t n_rows, absl::string_view why)>&
        on_smaller,
    SpanResults* results) {
  assert(problem.factors.size() < kMostScales);
  const Spans all = {problem.n_rows, problem.n_cols, problem.height,
                     problem.width};
  const size_t n_spans = static_cast<size_t>(all.n());
  results->scales.resize(n_spans);
  results->before.resize(n_spans);
  results->after.resize(n_spans);
  results->codes.resize(static_cast<size_t>(problem.n_rows * problem.n_cols));
  results->energies.resize(static_cast<size_t>(problem.n_rows));
  const int64_t n_bands =
      (problem.n_rows + problem.height - 1) / problem.height;
  int64_t at_once = n_bands;
  for (int64_t band = 0; band < n_bands;) {
    const int64_t first_row = band * problem.height;
    ASSIGN_OR_RETURN(const int64_t done,
                     WithSmallerBatches(
                         std::min(at_once, n_bands - band), 1,
                         [&](int64_t n) {
                           Batch batch(device, problem, first_row,
                                       std::min(n * problem.height,
                                                problem.n_rows - first_row));
                           RETURN_IF_ERROR(batch.Allocate());
                           return batch.Run(results);
                         },
                         [&](int64_t n, absl::string_view why) {
                           on_smaller(n * problem.height, why);
                         }));
    at_once = std::min(at_once, done);
    band += done;
  }
  return absl::OkStatus();
}

}  // namespace narrow
