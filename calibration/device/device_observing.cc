#include "calibration/device/device_observing.h"

#include <algorithm>

#include "formats/base/status.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {

void DeviceObserving::Take(const float* rows, int64_t n_rows, int64_t n_cols,
                           int64_t first_token) {
  TakeExpert(-1, rows, n_rows, n_cols, {});
  input_.first_token = first_token;
}

void DeviceObserving::TakeExpert(int expert, const float* rows, int64_t n_rows,
                                 int64_t n_cols,
                                 absl::Span<const int64_t> tokens) {
  input_ = LayerInput();
  input_.expert = expert;
  input_.rows = rows;
  input_.n_rows = n_rows;
  input_.n_cols = n_cols;
  input_.tokens = tokens;
  is_copied_ = false;
  ++n_taken_;
}

absl::Status DeviceObserving::Show(absl::string_view name, bool added) {
  if (!on()) {
    return absl::OkStatus();
  }
  input_.name = name;
  ASSIGN_OR_RETURN(const bool taken, TakenThere(added));
  if (taken) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ColumnSums sums, observer_->SumsOf(input_));
  if (sums.have_them) {
    return absl::OkStatus();
  }
  if (sums.sums == nullptr) {
    return ShowRows(added);
  }
  RETURN_IF_ERROR(GoOn(sums));
  return observer_->OnSums(input_);
}

absl::StatusOr<bool> DeviceObserving::TakenThere(bool added) {
  DeviceInput there;
  there.input = input_;
  there.number = n_taken_;
  there.device = &context_->device();
  there.stream = context_->stream();
  if (added) {
    there.input.residual = hidden_->on_device.as<float>() +
                           input_.first_token * hidden_->hidden_size;
    there.input.residual_cols = hidden_->hidden_size;
  }
  return observer_->OnDevice(there);
}

// The device adds its rows to the host's sums, which go there and back.
absl::Status DeviceObserving::GoOn(const ColumnSums& sums) {
  const auto n = static_cast<size_t>(input_.n_cols);
  const auto n_bytes = static_cast<int64_t>(2 * n * sizeof(double));
  RETURN_IF_ERROR(context_->Reserve({{Room::kSums, n_bytes}}));
  auto* const on_device = context_->at<double>(Room::kSums);
  sums_.assign(sums.sums, sums.sums + n);
  sums_.insert(sums_.end(), sums.squares, sums.squares + n);
  RETURN_IF_ERROR(
      context_->ToDevice(sums_.data(), n_bytes, on_device, "sums of columns"));
  RETURN_IF_ERROR(
      RunRows(row_threads::ColumnsTask{input_.rows, input_.n_rows,
                                       input_.n_cols, on_device, on_device + n},
              context_->stream()));
  RETURN_IF_ERROR(
      context_->ToHost(on_device, n_bytes, sums_.data(), "sums of columns"));
  std::copy_n(sums_.begin(), n, sums.sums);
  std::copy_n(sums_.begin() + static_cast<int64_t>(n), n, sums.squares);
  return absl::OkStatus();
}

absl::Status DeviceObserving::ShowRows(bool added) {
  if (!is_copied_) {
    next_ = 1 - next_;
    rows_[next_].resize(static_cast<size_t>(input_.n_rows * input_.n_cols));
    RETURN_IF_ERROR(context_->ToHost(
        input_.rows, static_cast<int64_t>(rows_[next_].size() * sizeof(float)),
        rows_[next_].data(), "the input of a layer"));
    is_copied_ = true;
  }
  LayerInput input = input_;
  input.rows = rows_[next_].data();
  if (added) {
    const int64_t n_hidden = hidden_->hidden_size;
    residual_.resize(static_cast<size_t>(input.n_rows * n_hidden));
    RETURN_IF_ERROR(context_->ToHost(
        hidden_->on_device.as<float>() + input.first_token * n_hidden,
        static_cast<int64_t>(residual_.size() * sizeof(float)),
        residual_.data(), "hidden states"));
    input.residual = residual_.data();
    input.residual_cols = n_hidden;
  }
  return observer_->OnInput(input);
}

}  // namespace narrow
