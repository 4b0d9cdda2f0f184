// The correction of a drift (converter/solvers/metric/drift.h) on a device,
// with the processor's bits: a factor, products, rows through the factor and
// their energies, chains in double; and the products with rows held out, in
// float32.
//
//   ASSIGN_OR_RETURN(auto drift, DeviceDrift::Open(device, inputs));
//   ASSIGN_OR_RETURN(bool is_factor, drift->Factor(lambda));
//   ASSIGN_OR_RETURN(int64_t n_limited, drift->Correct(change));
//
// Memory of the device, n columns: 24 n^2 bytes, 8 n^2 more where inputs have
// drifted, and some 40 a weight of the rows that go through at once, of which
// there are fewer where memory is short. Belongs to one thread.

#ifndef NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_DRIFT_H_
#define NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_DRIFT_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/linalg/device/device_factor.h"

namespace narrow {

// Borrows everything, of the host. n_cols^2 moments, n_rows x n_cols numbers.
struct DriftInputs {
  const double* gram = nullptr;
  const double* cross = nullptr;     // K, or nullptr
  const double* residual = nullptr;  // D, or nullptr
  const float* weights = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  double drift = 0;  // shares
  double residual_share = 0;
  double max_share = 0;  // of a row's own energy
};

class DeviceDrift {
 public:
  // ResourceExhausted, as of the others: memory.
  static absl::StatusOr<std::unique_ptr<DeviceDrift>> Open(
      const Device& device, const DriftInputs& inputs);

  // R of H + lambda; false: there is none.
  absl::StatusOr<bool> Factor(double lambda);
  // The correction of all rows, [n_rows, n_cols], each within its limit;
  // returns how many were scaled down to it. After a factor.
  absl::StatusOr<int64_t> Correct(float* change);
  // out[n_held, n_rows] = rows held out times a matrix [n_rows, n_cols].
  absl::Status Multiply(const float* held, int64_t n_held, const float* matrix,
                        float* out);

 private:
  // Rows on their way through.
  struct Batch {
    DeviceBuffer weights, wide, moved, products, residual, energies, change,
        limited;
  };

  DeviceDrift(const Device& device, const DriftInputs& inputs)
      : device_(device), inputs_(inputs) {}
  absl::Status CopyMoments();
  absl::Status Reserve(int64_t n_rows);
  absl::Status CorrectRows(int64_t first, int64_t n_rows, float* change);
  absl::Status Energies(const double* rows, int64_t n_rows, double* energies);

  const Device device_;
  const DriftInputs inputs_;
  DeviceStream stream_;
  std::unique_ptr<DeviceFactors> factors_;
  DeviceBuffer gram_, cross_, r_;
  Batch batch_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_DRIFT_H_
