// HQQ's search on a device: what hqq.cc does where it keeps the best step,
// with the same bits.
//
//   if (CanHqqOnDevice(problem)) {
//     RETURN_IF_ERROR(HqqOnDevice(problem, importance, batches, &matrix,
//                                 &errors));
//   }

#ifndef NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_HQQ_H_
#define NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_HQQ_H_

#include <vector>

#include "absl/status/status.h"
#include "converter/solvers/solver.h"
#include "formats/packing/quantized_matrix.h"
#include "kernels/half_quadratic/device/hqq_threads.h"

namespace narrow {

// Whether there is a device, and code for it that stores scales as the scheme
// has them.
bool CanHqqOnDevice(const SolverProblem& problem);

// Codes, scales and zeros of `matrix`, which has its size; errors
// [batches, kGroupsAside]. `importance` [n_cols] or empty. ResourceExhausted:
// the device's memory. REQUIRES: CanHqqOnDevice.
absl::Status HqqOnDevice(const SolverProblem& problem,
                         const std::vector<float>& importance,
                         std::vector<hqq_threads::Batch> batches,
                         QuantizedMatrix* matrix,
                         std::vector<hqq_threads::GroupErrors>* errors);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_HQQ_H_
