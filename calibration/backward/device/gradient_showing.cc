#include "calibration/backward/device/gradient_showing.h"

#include "formats/base/status.h"

namespace narrow {

absl::Status GradientShowing::Show(const LayerGradient& gradient,
                                   GradientObserver* observer) {
  if (observer == nullptr || gradient.n_rows == 0) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(
      const bool taken,
      observer->OnDevice({gradient, &context_->device(), context_->stream()}));
  if (taken) {
    return absl::OkStatus();
  }
  LayerGradient here = gradient;
  rows_.resize(static_cast<size_t>((gradient.n_rows - 1) * gradient.stride +
                                   gradient.n_cols));
  RETURN_IF_ERROR(context_->ToHost(
      gradient.rows, static_cast<int64_t>(rows_.size() * sizeof(float)),
      rows_.data(), gradient.name));
  here.rows = rows_.data();
  if (gradient.input_norms != nullptr) {
    norms_.resize(static_cast<size_t>(gradient.n_rows));
    RETURN_IF_ERROR(
        context_->ToHost(gradient.input_norms,
                         static_cast<int64_t>(norms_.size() * sizeof(float)),
                         norms_.data(), gradient.name));
    here.input_norms = norms_.data();
  }
  return observer->OnGradient(here);
}

}  // namespace narrow
