#include "kernels/device_bench/solver_layers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"

namespace narrow {

double Cube(int64_t a, int64_t b, int64_t c) {
  return static_cast<double>(a) * static_cast<double>(b) *
         static_cast<double>(c);
}

std::string SizeOf(int64_t n_rows, int64_t n_cols) {
  return absl::StrCat(n_rows, " x ", n_cols);
}

absl::StatusOr<std::unique_ptr<SolverLayers>> SolverLayers::New(
    Bench* bench, int64_t n_batch, int64_t n_rows, int64_t n, int64_t group,
    FastLinalg* fast) {
  std::unique_ptr<SolverLayers> layers(
      new SolverLayers(bench, n_batch, n_rows, n));
  const int64_t square = n_batch * n * n;
  ASSIGN_OR_RETURN(layers->metric_, bench->Allocate(8 * square));
  ASSIGN_OR_RETURN(layers->h_, bench->Allocate(8 * square));
  ASSIGN_OR_RETURN(layers->m_, bench->Allocate(4 * square));
  ASSIGN_OR_RETURN(layers->gram_, bench->Allocate(4 * square));
  ASSIGN_OR_RETURN(layers->weights_, bench->Allocate(4 * n_batch * n_rows * n));
  RETURN_IF_ERROR(layers->FillMetric());
  ASSIGN_OR_RETURN(
      layers->factors_,
      DeviceFactors::New(bench->device(), n_batch,
                         fast != nullptr ? fast->solver() : nullptr));
  GridSpec spec;
  spec.group = group;
  spec.signed_scales = true;
  ASSIGN_OR_RETURN(layers->grid_,
                   DeviceGrid::New(bench->device(), spec, n_rows, n, n_batch));
  if (fast != nullptr) {
    layers->grid_->MultiplyBy(fast->stacked());
  }
  for (int64_t b = 0; b < n_batch; ++b) {
    RETURN_IF_ERROR(
        bench->stream()->Copy(bench->in(), static_cast<size_t>(4 * n_rows * n),
                              layers->weights_.as<float>() + b * n_rows * n));
  }
  RETURN_IF_ERROR(
      layers->grid_->SetTargets(layers->weights_.as<float>(), bench->stream()));
  return layers;
}

// Both halves of a matrix of random rows, and 1 on its diagonal.
absl::Status SolverLayers::FillMetric() {
  double* const sums = h_.as<double>();
  RETURN_IF_ERROR(stream_->Fill(0, h_.n_bytes(), sums));
  chain::GramTask gram;
  gram.left = gram.right = bench_.in();
  gram.left_stride = gram.right_stride = gram.m = gram.n = n_;
  gram.n_rows = std::min(2 * n_, bench_.n_floats() / n_);
  gram.sums = sums;
  gram.sums_stride = n_;
  RETURN_IF_ERROR(RunGram(gram, stream_));
  for (int64_t b = 0; b < n_batch_; ++b) {
    factor::MetricTask task = {};
    task.n_matrix = n_;
    task.gram = sums;
    task.damping = static_cast<double>(n_);
    task.unit = static_cast<double>(n_);
    task.wide = metric_.as<double>() + b * n_ * n_;
    RETURN_IF_ERROR(RunFactorPass(task, stream_));
    task.wide = nullptr;
    task.floats = gram_.as<float>() + b * n_ * n_;
    RETURN_IF_ERROR(RunFactorPass(task, stream_));
  }
  return stream_->Synchronize("bench");
}

absl::Status SolverLayers::Factor() {
  RETURN_IF_ERROR(stream_->Copy(metric_.data(), metric_.n_bytes(), h_.data()));
  RETURN_IF_ERROR(factors_->FactorUpper(n_, h_.as<double>(), n_ * n_, stream_));
  return RunFactorPass(
      factor::UnitTask{n_, n_batch_, h_.as<double>(), n_ * n_, m_.as<float>(),
                       n_ * n_, nullptr, nullptr},
      stream_);
}

absl::Status SolverLayers::FitGroups() {
  return grid_->FitGroups(nullptr, {}, stream_);
}

absl::Status SolverLayers::Feed() {
  DeviceFeed feed;
  feed.m = m_.as<float>();
  return grid_->Feedback(feed, stream_);
}

absl::Status SolverLayers::Descend(int rounds) {
  DeviceDescent descent;
  descent.rounds = rounds;
  return grid_->Descend(gram_.as<float>(), descent, stream_).status();
}

absl::Status SolverLayers::Solve(int rounds) {
  RETURN_IF_ERROR(Factor());
  RETURN_IF_ERROR(FitGroups());
  RETURN_IF_ERROR(Feed());
  return Descend(rounds);
}

}  // namespace narrow
