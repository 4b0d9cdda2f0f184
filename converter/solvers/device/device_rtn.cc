#include "converter/solvers/device/device_rtn.h"

#include <algorithm>
#include <cstddef>
#include <memory>

#include "absl/strings/str_cat.h"
#include "converter/solvers/grid_problem.h"
#include "formats/base/status.h"
#include "kernels/grid/device/device_grid.h"
#include "kernels/runs/device/run_task.h"

namespace narrow {
namespace {

// Some rows of some matrices on a device.
class Batch {
 public:
  Batch(const Device& device, absl::Span<DeviceRtnWork> works,
        int64_t first_row, int64_t n_rows)
      : device_(device),
        works_(works),
        n_batch_(static_cast<int64_t>(works.size())),
        first_row_(first_row),
        n_rows_(n_rows),
        n_cols_(works[0].problem->n_cols) {}

  absl::Status Run() {
    RETURN_IF_ERROR(Upload());
    if (SharesScales(works_[0].problem->scheme)) {
      for (int64_t b = 0; b < n_batch_; ++b) {
        RETURN_IF_ERROR(grid_->Write(b, RowsOf(b), &stream_));
      }
    } else {
      RETURN_IF_ERROR(grid_->FitGroups(
          importance_.as<float>(), works_[0].problem->options->fit, &stream_));
    }
    RETURN_IF_ERROR(grid_->RoundRows(&stream_));
    RETURN_IF_ERROR(grid_->DecodeRows(values_.as<float>(), &stream_));
    for (int64_t b = 0; b < n_batch_; ++b) {
      RETURN_IF_ERROR(Measure(b, nullptr, &Work(b).energies));
      RETURN_IF_ERROR(Measure(b, values_.as<float>(), &Work(b).errors));
      RETURN_IF_ERROR(Read(b));
    }
    return absl::OkStatus();
  }

 private:
  DeviceRtnWork& Work(int64_t b) { return works_[static_cast<size_t>(b)]; }
  int64_t n_weights() const { return n_rows_ * n_cols_; }

  absl::Status Allocate(int64_t n_bytes, DeviceBuffer* to) {
    ASSIGN_OR_RETURN(*to, device_.Allocate(static_cast<size_t>(n_bytes),
                                           Work(0).problem->name));
    return absl::OkStatus();
  }

  absl::Status Upload() {
    ASSIGN_OR_RETURN(stream_, device_.NewStream());
    ASSIGN_OR_RETURN(
        grid_, DeviceGrid::New(device_, Work(0).rows.spec, n_rows_, n_cols_,
                               n_batch_, DeviceGrid::Use::kRounding));
    RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_weights(), &weights_));
    RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_weights(), &values_));
    RETURN_IF_ERROR(Allocate(4 * n_batch_ * n_cols_, &importance_));
    RETURN_IF_ERROR(Allocate(8 * n_rows_, &sums_));
    // A matrix without importance among others counts every column 1.
    std::vector<float> importance(static_cast<size_t>(n_batch_ * n_cols_),
                                  1.0f);
    for (int64_t b = 0; b < n_batch_; ++b) {
      std::copy(Work(b).importance.begin(), Work(b).importance.end(),
                importance.begin() + b * n_cols_);
      RETURN_IF_ERROR(
          stream_.Copy(Work(b).problem->weights + first_row_ * n_cols_,
                       static_cast<size_t>(4 * n_weights()),
                       weights_.as<float>() + b * n_weights()));
    }
    RETURN_IF_ERROR(stream_.Copy(importance.data(), 4 * importance.size(),
                                 importance_.data()));
    RETURN_IF_ERROR(grid_->SetTargets(weights_.as<float>(), &stream_));
    return stream_.Synchronize(Work(0).problem->name);
  }

  // Of the batch's rows; scales as they are.
  GridRows RowsOf(int64_t b) {
    const GridRows& all = Work(b).rows;
    GridRows rows(all.spec, n_rows_, n_cols_);
    const auto copy = [&](const std::vector<float>& from,
                          std::vector<float>* to) {
      if (!from.empty()) {
        const auto first = from.begin() + first_row_ * all.n_groups;
        std::copy(first, first + n_rows_ * all.n_groups, to->begin());
      }
    };
    copy(all.scales, &rows.scales);
    copy(all.zeros, &rows.zeros);
    return rows;
  }

  absl::Status Measure(int64_t b, const float* values,
                       std::vector<double>* sums) {
    const bool weighted = !Work(b).importance.empty();
    const run_threads::SquaresTask task = {
        n_rows_,
        n_cols_,
        weights_.as<float>() + b * n_weights(),
        values == nullptr ? nullptr : values + b * n_weights(),
        weighted ? importance_.as<float>() + b * n_cols_ : nullptr,
        sums_.as<double>()};
    RETURN_IF_ERROR(RunOnDevice(task, &stream_));
    RETURN_IF_ERROR(
        stream_.Copy(sums_.data(), sums_.n_bytes(), sums->data() + first_row_));
    return stream_.Synchronize(Work(0).problem->name);
  }

  absl::Status Read(int64_t b) {
    GridRows& all = Work(b).rows;
    GridRows rows(all.spec, n_rows_, n_cols_);
    RETURN_IF_ERROR(grid_->Read(b, &rows, &stream_));
    std::copy(rows.codes.begin(), rows.codes.end(),
              all.codes.begin() + first_row_ * n_cols_);
    std::copy(rows.scales.begin(), rows.scales.end(),
              all.scales.begin() + first_row_ * all.n_groups);
    if (!rows.zeros.empty()) {
      std::copy(rows.zeros.begin(), rows.zeros.end(),
                all.zeros.begin() + first_row_ * all.n_groups);
    }
    return absl::OkStatus();
  }

  const Device& device_;
  const absl::Span<DeviceRtnWork> works_;
  const int64_t n_batch_;
  const int64_t first_row_;
  const int64_t n_rows_;
  const int64_t n_cols_;
  DeviceStream stream_;
  std::unique_ptr<DeviceGrid> grid_;
  DeviceBuffer weights_;  // [n_batch, n_rows, n_cols], as the next
  DeviceBuffer values_;
  DeviceBuffer importance_;  // [n_batch, n_cols]
  DeviceBuffer sums_;        // [n_rows]
};

// A matrix that does not fit, in batches of rows.
absl::Status RoundByRows(const Device& device, DeviceRtnWork* work) {
  const int64_t n_rows = work->problem->n_rows;
  int64_t at_once = n_rows;
  for (int64_t first = 0; first < n_rows;) {
    ASSIGN_OR_RETURN(
        const int64_t done,
        WithSmallerBatches(
            std::min(at_once, n_rows - first), 1,
            [&](int64_t n) {
              return Batch(device, absl::MakeSpan(work, 1), first, n).Run();
            },
            [&](int64_t n, absl::string_view why) {
              work->note = absl::StrCat("solved ", n, " rows at once: ", why);
            }));
    at_once = std::min(at_once, done);
    first += done;
  }
  return absl::OkStatus();
}

// Grids of another global scale round in another way.
size_t NumAlike(absl::Span<const DeviceRtnWork> works) {
  size_t n = 1;
  while (n < works.size() &&
         works[n].rows.spec.global_scale == works[0].rows.spec.global_scale) {
    ++n;
  }
  return n;
}

}  // namespace

absl::Status RoundOnDevice(const Device& device,
                           absl::Span<DeviceRtnWork> works) {
  const int64_t n_rows = works[0].problem->n_rows;
  for (DeviceRtnWork& work : works) {
    work.energies.resize(static_cast<size_t>(n_rows));
    work.errors.resize(static_cast<size_t>(n_rows));
  }
  for (size_t at_once = works.size(), first = 0; first < works.size();) {
    const size_t alike = std::min(at_once, NumAlike(works.subspan(first)));
    std::string note;
    const absl::StatusOr<int64_t> done = WithSmallerBatches(
        static_cast<int64_t>(alike), 1,
        [&](int64_t n) {
          return Batch(device, works.subspan(first, static_cast<size_t>(n)), 0,
                       n_rows)
              .Run();
        },
        [&](int64_t n, absl::string_view why) {
          note = absl::StrCat("solved ", n, " matrices at once: ", why);
        });
    if (absl::IsResourceExhausted(done.status())) {
      RETURN_IF_ERROR(RoundByRows(device, &works[first]));
      at_once = 1;
      ++first;
      continue;
    }
    RETURN_IF_ERROR(done.status());
    works[first].note = std::move(note);
    if (static_cast<size_t>(*done) < alike) {
      at_once = static_cast<size_t>(*done);
    }
    first += static_cast<size_t>(*done);
  }
  return absl::OkStatus();
}

}  // namespace narrow
