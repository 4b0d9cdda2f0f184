// Tested by: device_drift_test.

#include "converter/solvers/device/device_drift.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"

namespace narrow {
namespace {

constexpr char kWhat[] = "corrections of drift";

size_t Bytes(int64_t n, size_t size) { return static_cast<size_t>(n) * size; }

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceDrift>> DeviceDrift::Open(
    const Device& device, const DriftInputs& inputs) {
  std::unique_ptr<DeviceDrift> drift(new DeviceDrift(device, inputs));
  RETURN_IF_ERROR(drift->CopyMoments());
  return drift;
}

absl::Status DeviceDrift::CopyMoments() {
  const size_t n_bytes = Bytes(inputs_.n_cols * inputs_.n_cols, sizeof(double));
  ASSIGN_OR_RETURN(stream_, device_.NewStream());
  ASSIGN_OR_RETURN(factors_, DeviceFactors::New(device_, 1));
  ASSIGN_OR_RETURN(gram_, device_.Allocate(n_bytes, kWhat));
  ASSIGN_OR_RETURN(r_, device_.Allocate(n_bytes, kWhat));
  RETURN_IF_ERROR(stream_.Copy(inputs_.gram, n_bytes, gram_.data()));
  if (inputs_.cross != nullptr) {
    ASSIGN_OR_RETURN(cross_, device_.Allocate(n_bytes, kWhat));
    RETURN_IF_ERROR(stream_.Copy(inputs_.cross, n_bytes, cross_.data()));
  }
  return stream_.Synchronize(kWhat);
}

absl::StatusOr<bool> DeviceDrift::Factor(double lambda) {
  const int64_t n = inputs_.n_cols;
  factor::MetricTask metric = {};
  metric.n_matrix = n;
  metric.gram = gram_.as<double>();
  metric.damping = lambda;
  metric.unit = 1;
  metric.wide = r_.as<double>();
  RETURN_IF_ERROR(RunFactorPass(metric, &stream_));
  RETURN_IF_ERROR(factors_->FactorUpper(n, r_.as<double>(), n * n, &stream_));
  ASSIGN_OR_RETURN(const std::vector<FactorResult> results,
                   factors_->Results(&stream_));
  return results[0].failed_at < 0;
}

absl::StatusOr<int64_t> DeviceDrift::Correct(float* change) {
  ASSIGN_OR_RETURN(const int64_t step,
                   WithSmallerBatches(
                       inputs_.n_rows, 1, [&](int64_t n) { return Reserve(n); },
                       [](int64_t, absl::string_view) {}));
  int64_t n_limited = 0;
  std::vector<uint8_t> limited;
  for (int64_t first = 0; first < inputs_.n_rows; first += step) {
    const int64_t n = std::min(step, inputs_.n_rows - first);
    RETURN_IF_ERROR(CorrectRows(first, n, change + first * inputs_.n_cols));
    limited.resize(static_cast<size_t>(n));
    RETURN_IF_ERROR(
        stream_.Copy(batch_.limited.data(), limited.size(), limited.data()));
    RETURN_IF_ERROR(stream_.Synchronize(kWhat));
    n_limited += std::count(limited.begin(), limited.end(), 1);
  }
  return n_limited;
}

absl::Status DeviceDrift::Reserve(int64_t n_rows) {
  batch_ = Batch();
  const int64_t n = n_rows * inputs_.n_cols;
  const std::pair<DeviceBuffer*, size_t> sizes[] = {
      {&batch_.weights, Bytes(n, sizeof(float))},
      {&batch_.wide, Bytes(n, sizeof(double))},
      {&batch_.moved, Bytes(n, sizeof(double))},
      {&batch_.products, Bytes(n, sizeof(double))},
      {&batch_.residual,
       inputs_.residual == nullptr ? 0 : Bytes(n, sizeof(double))},
      {&batch_.energies, Bytes(2 * n_rows, sizeof(double))},
      {&batch_.change, Bytes(n, sizeof(float))},
      {&batch_.limited, Bytes(n_rows, 1)}};
  for (const auto& [buffer, n_bytes] : sizes) {
    auto memory = device_.Allocate(n_bytes, kWhat);
    if (!memory.ok()) {
      batch_ = Batch();
      return memory.status();
    }
    *buffer = *std::move(memory);
  }
  return absl::OkStatus();
}

absl::Status DeviceDrift::CorrectRows(int64_t first, int64_t n_rows,
                                      float* change) {
  const int64_t n = inputs_.n_cols;
  const int64_t n_numbers = n_rows * n;
  double* const wide = batch_.wide.as<double>();
  double* const moved = batch_.moved.as<double>();
  RETURN_IF_ERROR(stream_.Copy(inputs_.weights + first * n,
                               Bytes(n_numbers, sizeof(float)),
                               batch_.weights.data()));
  RETURN_IF_ERROR(RunFactorPass(
      factor::WidenTask{batch_.weights.as<float>(), n_numbers, wide},
      &stream_));
  if (inputs_.cross == nullptr) {
    RETURN_IF_ERROR(stream_.Fill(0, Bytes(n_numbers, sizeof(double)), moved));
  } else {
    RETURN_IF_ERROR(
        RunChainProduct(chain::Gemm(Update::kSet, n_rows, n, n, wide, n,
                                    cross_.as<double>(), n, moved, n),
                        &stream_));
  }
  if (inputs_.residual != nullptr) {
    RETURN_IF_ERROR(stream_.Copy(inputs_.residual + first * n,
                                 Bytes(n_numbers, sizeof(double)),
                                 batch_.residual.data()));
  }
  RETURN_IF_ERROR(RunFactorPass(
      factor::MoveTask{moved, inputs_.drift, batch_.residual.as<double>(),
                       inputs_.residual_share, n_numbers},
      &stream_));
  RETURN_IF_ERROR(RunSolveRows({r_.as<double>(), n, moved, n_rows}, &stream_));
  double* const own = batch_.energies.as<double>();
  RETURN_IF_ERROR(Energies(wide, n_rows, own));
  RETURN_IF_ERROR(Energies(moved, n_rows, own + n_rows));
  RETURN_IF_ERROR(RunFactorPass(
      factor::LimitTask{moved, own, own + n_rows, n_rows, n, inputs_.max_share,
                        batch_.change.as<float>(),
                        batch_.limited.as<uint8_t>()},
      &stream_));
  return stream_.Copy(batch_.change.data(), Bytes(n_numbers, sizeof(float)),
                      change);
}

// x H x^T of rows.
absl::Status DeviceDrift::Energies(const double* rows, int64_t n_rows,
                                   double* energies) {
  const int64_t n = inputs_.n_cols;
  double* const products = batch_.products.as<double>();
  RETURN_IF_ERROR(
      RunChainProduct(chain::Gemm(Update::kSet, n_rows, n, n, rows, n,
                                  gram_.as<double>(), n, products, n),
                      &stream_));
  return RunFactorPass(factor::EnergyTask{rows, products, n_rows, n, energies},
                       &stream_);
}

absl::Status DeviceDrift::Multiply(const float* held, int64_t n_held,
                                   const float* matrix, float* out) {
  // What is left of the rows' memory may be wanted.
  batch_ = Batch();
  const int64_t n = inputs_.n_cols;
  const int64_t n_rows = inputs_.n_rows;
  const size_t held_bytes = Bytes(n_held * n, sizeof(float));
  const size_t matrix_bytes = Bytes(n_rows * n, sizeof(float));
  const size_t out_bytes = Bytes(n_held * n_rows, sizeof(float));
  ASSIGN_OR_RETURN(const DeviceBuffer left,
                   device_.Allocate(held_bytes, kWhat));
  ASSIGN_OR_RETURN(const DeviceBuffer right,
                   device_.Allocate(matrix_bytes, kWhat));
  ASSIGN_OR_RETURN(const DeviceBuffer product,
                   device_.Allocate(out_bytes, kWhat));
  RETURN_IF_ERROR(stream_.Copy(held, held_bytes, left.data()));
  RETURN_IF_ERROR(stream_.Copy(matrix, matrix_bytes, right.data()));
  RETURN_IF_ERROR(RunChainProduct(
      chain::GemmNT(Update::kSet, n_held, n_rows, n, left.as<float>(), n,
                    right.as<float>(), n, product.as<float>(), n_rows),
      &stream_));
  RETURN_IF_ERROR(stream_.Copy(product.data(), out_bytes, out));
  return stream_.Synchronize(kWhat);
}

}  // namespace narrow
