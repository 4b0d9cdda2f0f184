// Tested by: device_calibrator_test.

#include "calibration/blockwise/stats/device_sums.h"

#include <algorithm>
#include <cassert>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/blockwise/stats/input_sums.h"
#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/gram.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

constexpr char kWhat[] = "statistics of a layer";

// Takes memory for arrays, one behind the other.
class Layout {
 public:
  template <typename T>
  void Add(int64_t n, T** place) {
    places_.push_back({reinterpret_cast<void**>(place), n_bytes_});
    n_bytes_ += n * static_cast<int64_t>(sizeof(T));
  }
  int64_t n_bytes() const { return n_bytes_; }
  void Set(void* memory) const {
    for (const auto& [place, offset] : places_) {
      *place = static_cast<uint8_t*>(memory) + offset;
    }
  }

 private:
  std::vector<std::pair<void**, int64_t>> places_;
  int64_t n_bytes_ = 0;
};

}  // namespace

RowsThere RowsThere::From(int64_t first, int64_t n_some) const {
  RowsThere some = *this;
  some.rows += first;
  some.n = n_some;
  some.partners += partners == nullptr ? 0 : first;
  some.weights += weights == nullptr ? 0 : first;
  return some;
}

DeviceSums::DeviceSums(const SumsShape& shape, const StatsNeeds& needs,
                       FastGrams* fast)
    : shape_(shape),
      needs_(needs),
      fast_(fast),
      max_gathered_(shape.of_expert ? kGatheredExpertRows : kGatheredRows) {}

absl::StatusOr<std::unique_ptr<DeviceSums>> DeviceSums::Create(
    const Device& device, const SumsShape& shape, const StatsNeeds& needs,
    FastGrams* fast) {
  std::unique_ptr<DeviceSums> sums(new DeviceSums(shape, needs, fast));
  const int64_t n = shape.n_cols, most = sums->max_gathered_;
  Layout layout;
  // Doubles first, so that all are aligned.
  if (needs.gram) {
    layout.Add(n * n, &sums->gram_);
  }
  if (needs.cross) {
    layout.Add(n * n, &sums->cross_);
    layout.Add(most * n, &sums->drifts_);
  }
  if (shape.residual_cols > 0) {
    layout.Add(shape.residual_cols * n, &sums->residual_);
  }
  layout.Add(n, &sums->squares_);
  layout.Add(n, &sums->magnitudes_);
  const int64_t zero_bytes = layout.n_bytes();
  layout.Add(n, &sums->most_);
  layout.Add(n, &sums->least_);
  layout.Add(most * n, &sums->inputs_);
  if (shape.residual_cols > 0) {
    layout.Add(most * shape.residual_cols, &sums->residuals_);
  }
  if (shape.weighted) {
    layout.Add(most, &sums->weights_);
  }
  ASSIGN_OR_RETURN(const int64_t n_free, device.FreeMemory());
  if (layout.n_bytes() > n_free / 4 * 3) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kWhat, " with ", n, " columns need ", layout.n_bytes(),
                     " bytes of the device's memory, ", n_free, " are free"));
  }
  ASSIGN_OR_RETURN(
      sums->memory_,
      device.Allocate(static_cast<size_t>(layout.n_bytes()), kWhat));
  layout.Set(sums->memory_.data());
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  RETURN_IF_ERROR(
      stream.Fill(0, static_cast<size_t>(zero_bytes), sums->memory_.data()));
  RETURN_IF_ERROR(stream.Synchronize(kWhat));
  return sums;
}

bool DeviceSums::takes_whole() const {
  return !shape_.weighted && !needs_.original() &&
         n_gathered_ % kGramBlockRows == 0;
}

absl::Status DeviceSums::Add(const RowsThere& rows,
                             absl::Span<const float> weights,
                             DeviceStream* stream) {
  const int64_t n_cols = shape_.n_cols, n_residual = shape_.residual_cols;
  for (int64_t first = 0; first < rows.n;) {
    const int64_t n = std::min(max_gathered_ - n_gathered_, rows.n - first);
    const RowsThere some = rows.From(first, n);
    row_threads::PickTask pick = {};
    pick.x = some.inputs;
    pick.rows = some.rows;
    pick.n_rows = n;
    pick.n_cols = n_cols;
    pick.picked = inputs_ + n_gathered_ * n_cols;
    if (needs_.cross) {
      // Without any partner the pointer is not read.
      pick.partners = some.originals == nullptr ? pick.x : some.originals;
      pick.partners_rows = some.partners;
      pick.differences = drifts_ + n_gathered_ * n_cols;
    }
    RETURN_IF_ERROR(RunRows(pick, stream));
    if (n_residual > 0) {
      row_threads::PickTask of_residual = {};
      of_residual.x = some.residual;
      of_residual.rows = some.rows;
      of_residual.n_rows = n;
      of_residual.n_cols = n_residual;
      of_residual.partners = some.original_residual == nullptr
                                 ? some.residual
                                 : some.original_residual;
      of_residual.partners_rows = some.partners;
      of_residual.differences = residuals_ + n_gathered_ * n_residual;
      RETURN_IF_ERROR(RunRows(of_residual, stream));
    }
    if (shape_.weighted) {
      RETURN_IF_ERROR(stream->Copy(some.weights,
                                   static_cast<size_t>(n) * sizeof(float),
                                   weights_ + n_gathered_));
    }
    for (int64_t i = first; i < first + n; ++i) {
      weight_ += shape_.weighted
                     ? static_cast<double>(weights[static_cast<size_t>(i)])
                     : 1;
    }
    n_gathered_ += n;
    first += n;
    if (n_gathered_ == max_gathered_) {
      RETURN_IF_ERROR(Flush(stream));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceSums::Flush(DeviceStream* stream) {
  const int64_t n = std::exchange(n_gathered_, 0);
  return AddRows(inputs_, n, stream);
}

absl::Status DeviceSums::AddWhole(const float* rows, int64_t n,
                                  DeviceStream* stream) {
  assert(takes_whole() && n % kGramBlockRows == 0);
  RETURN_IF_ERROR(Flush(stream));
  weight_ += static_cast<double>(n);
  return AddRows(rows, n, stream);
}

// Rows, and of what belongs to them the first n that are gathered.
absl::Status DeviceSums::AddRows(const float* rows, int64_t n,
                                 DeviceStream* stream) {
  if (n == 0) {
    return absl::OkStatus();
  }
  const int64_t n_cols = shape_.n_cols;
  RETURN_IF_ERROR(RunRows(
      row_threads::MagnitudesTask{rows, n, n_cols, weights_, squares_,
                                  magnitudes_, most_, least_, n_rows_ == 0},
      stream));
  chain::GramTask task;
  task.right = rows;
  task.right_stride = n_cols;
  task.weights = weights_;
  task.n = n_cols;
  task.n_rows = n;
  task.sums_stride = n_cols;
  const auto add = [&](const float* left, int64_t n_left, bool upper,
                       double* sums) {
    task.left = left;
    task.left_stride = n_left;
    task.m = n_left;
    task.upper = upper;
    task.sums = sums;
    if (sums == nullptr) {
      return absl::OkStatus();
    }
    return fast_ != nullptr && fast_->Reserve(task).ok()
               ? fast_->Add(task, stream)
               : RunGram(task, stream);
  };
  RETURN_IF_ERROR(add(rows, n_cols, /*upper=*/true, gram_));
  RETURN_IF_ERROR(add(drifts_, n_cols, /*upper=*/false, cross_));
  RETURN_IF_ERROR(
      add(residuals_, shape_.residual_cols, /*upper=*/false, residual_));
  n_rows_ += n;
  return absl::OkStatus();
}

absl::Status DeviceSums::HoldOut(const RowsThere& rows,
                                 absl::Span<const float> weights,
                                 const Device& device, DeviceStream* stream) {
  if (held_out_ == nullptr) {
    held_out_ = std::make_shared<HeldOutRows>();
  }
  const int64_t widest = std::max(shape_.n_cols, shape_.residual_cols);
  ASSIGN_OR_RETURN(
      const DeviceBuffer picked,
      device.Allocate(static_cast<size_t>(rows.n * widest) * sizeof(float),
                      "rows that are held out"));
  row_threads::PickTask pick = {};
  pick.rows = rows.rows;
  pick.n_rows = rows.n;
  pick.partners_rows = rows.partners;
  const auto fetch = [&](std::vector<float>* to) {
    RETURN_IF_ERROR(RunRows(pick, stream));
    const size_t first = to->size();
    to->resize(first + static_cast<size_t>(pick.n()));
    RETURN_IF_ERROR(stream->Copy(picked.data(),
                                 static_cast<size_t>(pick.n()) * sizeof(float),
                                 to->data() + first));
    return stream->Synchronize("rows that are held out");
  };
  pick.x = rows.inputs;
  pick.n_cols = shape_.n_cols;
  pick.picked = picked.as<float>();
  RETURN_IF_ERROR(fetch(&held_out_->inputs));
  pick.picked = nullptr;
  if (needs_.cross) {
    pick.partners = rows.originals == nullptr ? rows.inputs : rows.originals;
    pick.others = picked.as<float>();
    RETURN_IF_ERROR(fetch(&held_out_->originals));
    pick.others = nullptr;
  }
  if (shape_.residual_cols > 0) {
    pick.x = rows.residual;
    pick.n_cols = shape_.residual_cols;
    pick.partners = rows.original_residual == nullptr ? rows.residual
                                                      : rows.original_residual;
    pick.differences = picked.as<float>();
    RETURN_IF_ERROR(fetch(&held_out_->residual));
  }
  held_out_->n_rows += rows.n;
  held_out_->weights.insert(held_out_->weights.end(), weights.begin(),
                            weights.end());
  return absl::OkStatus();
}

absl::Status DeviceSums::Finish(ThreadPool* pool, DeviceStream* stream,
                                LayerStats* stats) {
  RETURN_IF_ERROR(Flush(stream));
  *stats = LayerStats();
  const int64_t n = shape_.n_cols;
  stats->n_cols = n;
  stats->n_rows = n_rows_;
  stats->weight = weight_;
  stats->held_out = std::move(held_out_);
  stats->max_abs.resize(static_cast<size_t>(n));
  std::vector<float> most, least;
  const auto fetch = [&](auto* from, int64_t n_numbers, auto* to) {
    if (from == nullptr || n_rows_ == 0) {
      return absl::OkStatus();
    }
    to->resize(static_cast<size_t>(n_numbers));
    return stream->Copy(from, to->size() * sizeof(*from), to->data());
  };
  stats->sum_sq.resize(static_cast<size_t>(n));
  stats->sum_abs.resize(static_cast<size_t>(n));
  RETURN_IF_ERROR(fetch(squares_, n, &stats->sum_sq));
  RETURN_IF_ERROR(fetch(magnitudes_, n, &stats->sum_abs));
  RETURN_IF_ERROR(fetch(most_, n, &most));
  RETURN_IF_ERROR(fetch(least_, n, &least));
  RETURN_IF_ERROR(fetch(gram_, n * n, &stats->gram));
  RETURN_IF_ERROR(fetch(cross_, n * n, &stats->cross));
  RETURN_IF_ERROR(fetch(residual_, shape_.residual_cols * n, &stats->residual));
  RETURN_IF_ERROR(stream->Synchronize(kWhat));
  memory_ = DeviceBuffer();
  if (!stats->gram.empty()) {
    MirrorUpper(pool, n, stats->gram.data());
  }
  SetExtremes(most, least, stats);
  return absl::OkStatus();
}

}  // namespace narrow
