// The factors of kernels/linalg/cholesky.h on a device, many matrices of one
// size at once, with the very bits of FactorUpper, UnitFactorInPlace and
// SolveRows.
//
//   ASSIGN_OR_RETURN(auto factors, DeviceFactors::New(device, n_batch));
//   RETURN_IF_ERROR(factors->FactorUpper(n, h, n * n, &stream));
//   ASSIGN_OR_RETURN(auto results, factors->Results(&stream));   // waits
//   RETURN_IF_ERROR(RunFactorPass(unit_task, &stream));
//   RETURN_IF_ERROR(RunSolveRows(rows, &stream));
//
// With cuSOLVER, if it is given one, the factors are the library's: other last
// digits, as its sums have another order.
//
// Pointers are the device's. A card works on one block of 128 columns after
// another: all of it is one product, then one launch for the block's square
// and one for the rows above. Matrices go side by side through the same
// launches.

#ifndef NARROW_KERNELS_LINALG_DEVICE_DEVICE_FACTOR_H_
#define NARROW_KERNELS_LINALG_DEVICE_DEVICE_FACTOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/device.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/device/cusolver.h"
#include "kernels/linalg/device/factor_threads.h"

namespace narrow {

// What became of the factors of a batch of matrices.
class DeviceFactors {
 public:
  // The library, if there is one, must outlive it.
  static absl::StatusOr<std::unique_ptr<DeviceFactors>> New(
      const Device& device, int64_t n_batch, CuSolver* library = nullptr);

  // The upper triangles of n_batch matrices [n, n] become R, `step` elements
  // from one to the next. Failed ones are spoilt.
  absl::Status FactorUpper(int64_t n, double* h, int64_t step,
                           DeviceStream* stream);
  // One a matrix, once the stream's work is done.
  absl::StatusOr<std::vector<FactorResult>> Results(DeviceStream* stream);

 private:
  DeviceFactors(int64_t n_batch, CuSolver* library)
      : n_batch_(n_batch), library_(library) {}
  absl::Status FactorByLibrary(int64_t n, double* h, int64_t step,
                               DeviceStream* stream);

  const int64_t n_batch_;
  CuSolver* const library_;
  DeviceBuffer outcomes_;
  DeviceBuffer infos_;  // the library's
};

// R of one matrix [n, n] of the host, in its upper triangle; after an error `h`
// is as it was. `what` ends up in messages.
absl::Status FactorUpperOnDevice(const Device& device, absl::string_view what,
                                 int64_t n, double* h, FactorResult* result);

// X R R^T = B in place for the rows of each B [n_rows, n].
struct SolveRowsTask {
  const double* r = nullptr;
  int64_t n = 0;
  double* b = nullptr;
  int64_t n_rows = 0;
  int64_t n_batch = 1;
  int64_t r_step = 0;
  int64_t b_step = 0;
};
absl::Status RunSolveRows(const SolveRowsTask& task, DeviceStream* stream);

// Passes over elements.
absl::Status RunFactorPass(const factor::UnitTask& task, DeviceStream* stream);
absl::Status RunFactorPass(const factor::MetricTask& task,
                           DeviceStream* stream);
absl::Status RunFactorPass(const factor::WidenTask& task, DeviceStream* stream);
absl::Status RunFactorPass(const factor::MoveTask& task, DeviceStream* stream);
absl::Status RunFactorPass(const factor::EnergyTask& task,
                           DeviceStream* stream);
absl::Status RunFactorPass(const factor::LimitTask& task, DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_DEVICE_FACTOR_H_
