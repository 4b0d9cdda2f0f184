#include "converter/solvers/device/device_gptq.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "kernels/grid/device/device_grid.h"
#include "kernels/linalg/device/device_factor.h"
#include "kernels/linalg/device/fast_linalg.h"

namespace narrow {
namespace {

// A batch of works on a device.
class Batch {
 public:
  // `fast` may be null.
  Batch(const Device& device, FastLinalg* fast,
        absl::Span<DeviceGptqWork> works)
      : device_(device),
        fast_(fast),
        works_(works),
        n_batch_(static_cast<int64_t>(works.size())),
        n_rows_(works[0].problem->n_rows),
        n_(works[0].metric.n),
        options_(*works[0].problem->options),
        shares_scales_(SharesScales(works[0].problem->scheme)) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(stream_, device_.NewStream());
    RETURN_IF_ERROR(Factor());
    RETURN_IF_ERROR(FitAndFeed());
    RETURN_IF_ERROR(Improve());
    for (int64_t b = 0; b < n_batch_; ++b) {
      RETURN_IF_ERROR(grid_->Read(b, &Work(b).rows, &stream_));
    }
    return absl::OkStatus();
  }

 private:
  DeviceGptqWork& Work(int64_t b) { return works_[static_cast<size_t>(b)]; }

  absl::Status Allocate(int64_t n_bytes, DeviceBuffer* to) {
    ASSIGN_OR_RETURN(*to, device_.Allocate(static_cast<size_t>(n_bytes),
                                           Work(0).problem->name));
    return absl::OkStatus();
  }
  // Waits, as what it comes from may go.
  absl::Status Copy(const void* from, int64_t n_bytes, void* to) {
    RETURN_IF_ERROR(stream_.Copy(from, static_cast<size_t>(n_bytes), to));
    return stream_.Synchronize(Work(0).problem->name);
  }

  absl::Status Factor();
  absl::Status Gather(int64_t b, double* h);
  absl::Status FactorAgain(int64_t b, double* h, FactorResult result);
  absl::Status FitAndFeed();
  absl::Status FitScalesOnDevice(const std::vector<float>& by_column);
  absl::Status MakeGram();
  absl::Status Improve();

  absl::StatusOr<std::unique_ptr<DeviceFactors>> NewFactors(int64_t n) const {
    return DeviceFactors::New(device_, n,
                              fast_ != nullptr ? fast_->solver() : nullptr);
  }

  const Device device_;
  FastLinalg* const fast_;
  const absl::Span<DeviceGptqWork> works_;
  const int64_t n_batch_;
  const int64_t n_rows_;
  const int64_t n_;
  const SolverOptions& options_;
  const bool shares_scales_;
  DeviceStream stream_;
  DeviceBuffer raw_;      // [n_batch, n, n], Gram matrices
  DeviceBuffer orders_;   // [n], columns at a place
  DeviceBuffer m_;        // [n_batch, n, n], unit factors
  DeviceBuffer gram_;     // the same, in float32, without `order`
  DeviceBuffer targets_;  // [n_batch, n_rows, n]
  DeviceBuffer weights_;  // [n_batch, n], of columns
  std::vector<float> pivots_;
  std::unique_ptr<DeviceGrid> grid_;
};

// A damped Gram matrix in the order of feedback.
absl::Status Batch::Gather(int64_t b, double* h) {
  DeviceGptqWork& work = Work(b);
  std::vector<int32_t> columns;
  for (const int32_t place : work.order) {
    columns.push_back(work.metric.layout[static_cast<size_t>(place)]);
  }
  RETURN_IF_ERROR(Copy(columns.data(), 4 * n_, orders_.data()));
  factor::MetricTask task = {};
  task.n_matrix = n_;
  task.gram = work.metric.empty ? nullptr : raw_.as<double>() + b * n_ * n_;
  task.order = orders_.as<int32_t>();
  task.damping = work.metric.damping * work.metric.mean;
  task.unit = 1;
  task.wide = h;
  return RunFactorPass(task, &stream_);
}

// One whose pivots were not positive, as FactorGram goes on.
absl::Status Batch::FactorAgain(int64_t b, double* h, FactorResult result) {
  DeviceGptqWork& work = Work(b);
  GramMetric& metric = work.metric;
  const double asked = metric.damping;
  ASSIGN_OR_RETURN(auto factors, NewFactors(1));
  double step = options_.damping_step;
  for (int tries = 1; tries < kMaxDampings && result.failed_at >= 0;
       ++tries, step *= 2) {
    metric.damping += step;
    RETURN_IF_ERROR(Gather(b, h));
    RETURN_IF_ERROR(factors->FactorUpper(n_, h, n_ * n_, &stream_));
    ASSIGN_OR_RETURN(const auto results, factors->Results(&stream_));
    result = results[0];
  }
  if (result.failed_at >= 0) {
    metric.damping += step;
    return NotPositive(*work.problem, metric, result);
  }
  work.report->notes.push_back(DampingRaised(asked, metric));
  return absl::OkStatus();
}

absl::Status Batch::Factor() {
  const int64_t square = n_ * n_;
  DeviceBuffer h;
  RETURN_IF_ERROR(Allocate(8 * n_batch_ * square, &raw_));
  RETURN_IF_ERROR(Allocate(8 * n_batch_ * square, &h));
  RETURN_IF_ERROR(Allocate(4 * n_, &orders_));
  for (int64_t b = 0; b < n_batch_; ++b) {
    if (!Work(b).metric.empty) {
      RETURN_IF_ERROR(Copy(Work(b).metric.gram, 8 * square,
                           raw_.as<double>() + b * square));
    }
    RETURN_IF_ERROR(Gather(b, h.as<double>() + b * square));
  }
  ASSIGN_OR_RETURN(auto factors, NewFactors(n_batch_));
  RETURN_IF_ERROR(factors->FactorUpper(n_, h.as<double>(), square, &stream_));
  ASSIGN_OR_RETURN(const auto results, factors->Results(&stream_));
  std::vector<double> units;
  for (int64_t b = 0; b < n_batch_; ++b) {
    const FactorResult& result = results[static_cast<size_t>(b)];
    if (result.failed_at >= 0) {
      RETURN_IF_ERROR(FactorAgain(b, h.as<double>() + b * square, result));
    }
    const GramMetric& metric = Work(b).metric;
    Work(b).report->damping = metric.damping;
    units.push_back(PivotUnit(metric));
  }
  DeviceBuffer d_units;
  DeviceBuffer d_pivots;
  RETURN_IF_ERROR(Allocate(8 * n_batch_, &d_units));
  RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_, &d_pivots));
  RETURN_IF_ERROR(Allocate(4 * n_batch_ * square, &m_));
  RETURN_IF_ERROR(Copy(units.data(), 8 * n_batch_, d_units.data()));
  RETURN_IF_ERROR(RunFactorPass(
      factor::UnitTask{n_, n_batch_, h.as<double>(), square, m_.as<float>(),
                       square, d_pivots.as<float>(), d_units.as<double>()},
      &stream_));
  pivots_.resize(static_cast<size_t>(n_batch_ * n_));
  return Copy(d_pivots.data(), 4 * n_batch_ * n_, pivots_.data());
}

absl::Status Batch::FitScalesOnDevice(const std::vector<float>& by_column) {
  RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_, &weights_));
  RETURN_IF_ERROR(Copy(by_column.data(), 4 * n_batch_ * n_, weights_.data()));
  if (!shares_scales_) {
    return grid_->FitGroups(
        options_.weighted_fit ? weights_.as<float>() : nullptr, options_.fit,
        &stream_);
  }
  for (int64_t b = 0; b < n_batch_; ++b) {
    DeviceGptqWork& work = Work(b);
    FitScales(*work.problem, work.targets, nullptr, &work.rows);
    RETURN_IF_ERROR(grid_->Write(b, work.rows, &stream_));
  }
  return absl::OkStatus();
}

// What is rounded to the nearest is then in the grid's other state.
absl::Status Batch::FitAndFeed() {
  const int64_t n_weights = n_rows_ * n_;
  RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_weights, &targets_));
  std::vector<float> by_column(pivots_.size());
  std::vector<int32_t> orders;
  for (int64_t b = 0; b < n_batch_; ++b) {
    const DeviceGptqWork& work = Work(b);
    RETURN_IF_ERROR(Copy(work.targets, 4 * n_weights,
                         targets_.as<float>() + b * n_weights));
    for (int64_t i = 0; i < n_; ++i) {
      const int32_t column = work.order[static_cast<size_t>(i)];
      orders.push_back(column);
      by_column[static_cast<size_t>(b * n_ + column)] =
          pivots_[static_cast<size_t>(b * n_ + i)];
    }
  }
  ASSIGN_OR_RETURN(grid_, DeviceGrid::New(device_, Work(0).rows.spec, n_rows_,
                                          n_, n_batch_));
  if (fast_ != nullptr) {
    grid_->MultiplyBy(fast_->stacked());
  }
  RETURN_IF_ERROR(grid_->SetTargets(targets_.as<float>(), &stream_));
  RETURN_IF_ERROR(FitScalesOnDevice(by_column));
  RETURN_IF_ERROR(grid_->CopyToOther(&stream_));
  RETURN_IF_ERROR(grid_->RoundRows(&stream_));
  grid_->Swap();
  DeviceFeed feed;
  feed.m = m_.as<float>();
  feed.order = orders;
  feed.fit_on_entry = !options_.static_groups && !shares_scales_;
  feed.column_weights = options_.weighted_fit ? weights_.as<float>() : nullptr;
  feed.fit = options_.fit;
  RETURN_IF_ERROR(grid_->Feedback(feed, &stream_));
  RETURN_IF_ERROR(stream_.Synchronize(Work(0).problem->name));
  m_ = DeviceBuffer();
  return absl::OkStatus();
}

absl::Status Batch::MakeGram() {
  RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_ * n_, &gram_));
  for (int64_t b = 0; b < n_batch_; ++b) {
    const GramMetric& metric = Work(b).metric;
    RETURN_IF_ERROR(Copy(metric.layout.data(), 4 * n_, orders_.data()));
    factor::MetricTask task = {};
    task.n_matrix = n_;
    task.gram = metric.empty ? nullptr : raw_.as<double>() + b * n_ * n_;
    task.order = orders_.as<int32_t>();
    task.damping = metric.damping * metric.mean;
    task.unit = metric.mean;
    task.floats = gram_.as<float>() + b * n_ * n_;
    RETURN_IF_ERROR(RunFactorPass(task, &stream_));
  }
  return stream_.Synchronize(Work(0).problem->name);
}

absl::Status Batch::Improve() {
  RETURN_IF_ERROR(MakeGram());
  const float* const gram = gram_.as<float>();
  ASSIGN_OR_RETURN(const auto energies, grid_->Errors(gram, true, &stream_));
  grid_->Swap();
  ASSIGN_OR_RETURN(const auto nearest, grid_->Errors(gram, false, &stream_));
  grid_->Swap();
  ASSIGN_OR_RETURN(const auto fed, grid_->Errors(gram, false, &stream_));
  std::vector<uint8_t> worse;
  for (size_t b = 0; b < fed.size(); ++b) {
    SolverReport* const report = works_[b].report;
    report->relative_error_before = Ratio(nearest[b], energies[b]);
    worse.push_back(fed[b] > nearest[b]);
    if (worse.back() != 0) {
      report->notes.push_back(FeedbackIsWorse(fed[b], nearest[b], energies[b]));
    }
  }
  RETURN_IF_ERROR(grid_->TakeFromOther(worse, &stream_));
  DeviceDescent descent;
  descent.refit = options_.refit && !shares_scales_;
  descent.sweep = options_.sweep;
  descent.rounds = descent.refit || descent.sweep ? options_.rounds : 0;
  ASSIGN_OR_RETURN(const auto errors, grid_->Descend(gram, descent, &stream_));
  for (size_t b = 0; b < errors.size(); ++b) {
    works_[b].report->relative_error = Ratio(errors[b].after, energies[b]);
  }
  return absl::OkStatus();
}

// What a failed attempt may have changed is put back.
absl::Status RunBatch(const Device& device, FastLinalg* fast,
                      absl::Span<DeviceGptqWork> works) {
  std::vector<GramMetric> metrics;
  std::vector<SolverReport> reports;
  for (const DeviceGptqWork& work : works) {
    metrics.push_back(work.metric);
    reports.push_back(*work.report);
  }
  const absl::Status status = Batch(device, fast, works).Run();
  for (size_t i = 0; absl::IsResourceExhausted(status) && i < works.size();
       ++i) {
    works[i].metric = metrics[i];
    *works[i].report = reports[i];
  }
  return status;
}

}  // namespace

std::string FeedbackIsWorse(double fed, double nearest, double energy) {
  return absl::StrCat("feedback of errors gave ", Ratio(fed, energy),
                      ", rounding to nearest ", Ratio(nearest, energy),
                      ": the latter is taken");
}

absl::Status SolveGptqOnDevice(const Device& device,
                               absl::Span<DeviceGptqWork> works) {
  std::unique_ptr<FastLinalg> fast;
  if (works[0].problem->fast) {
    ASSIGN_OR_RETURN(fast, FastLinalg::Open(device, &works[0].report->notes));
  }
  size_t at_once = works.size();
  for (size_t first = 0; first < works.size();) {
    std::string note;
    const auto attempt = [&](int64_t n) {
      return RunBatch(device, fast.get(),
                      works.subspan(first, static_cast<size_t>(n)));
    };
    // Grids of another global scale round in another way.
    size_t alike = 1;
    while (alike < std::min(at_once, works.size() - first) &&
           works[first + alike].rows.spec.global_scale ==
               works[first].rows.spec.global_scale) {
      ++alike;
    }
    const int64_t left = static_cast<int64_t>(alike);
    ASSIGN_OR_RETURN(
        const int64_t done,
        WithSmallerBatches(
            left, 1, attempt, [&](int64_t n, absl::string_view why) {
              note = absl::StrCat("solved ", n, " matrices at once: ", why);
            }));
    if (!note.empty()) {
      works[first].report->notes.push_back(std::move(note));
    }
    if (done < left) {
      at_once = static_cast<size_t>(done);
    }
    first += static_cast<size_t>(done);
  }
  return absl::OkStatus();
}

}  // namespace narrow
