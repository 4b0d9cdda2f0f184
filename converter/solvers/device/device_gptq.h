// GPTQ's arithmetic on a device: factors of the damped Gram matrices, scales,
// feedback, descent; many matrices of one shape and scheme at once, such as
// the experts of a layer. The same codes, scales, errors and notes as gptq.cc
// has on the processor, unless the problems may be fast: then factors are
// cuSOLVER's, where there is that, and what reaches past a group is multiplied
// on tensor cores in two bfloat16 parts.
//
//   std::vector<DeviceGptqWork> works = ...;
//   RETURN_IF_ERROR(SolveGptqOnDevice(device, absl::MakeSpan(works)));
//   works[0].rows;  works[0].report->relative_error
//
// Memory of the device for each of them, n columns and m rows: 8 n^2 for the
// Gram matrix, 12 n^2 while it is factored, 8 n^2 afterwards; 24 m n for rows.
// Fewer are taken at once where that does not fit.

#ifndef NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_GPTQ_H_
#define NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_GPTQ_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "converter/solvers/metric/gram_metric.h"
#include "converter/solvers/solver.h"
#include "kernels/device.h"
#include "kernels/grid/grid.h"

namespace narrow {

// One matrix on its way, columns in the order of `metric.layout`.
struct DeviceGptqWork {
  const SolverProblem* problem = nullptr;
  GramMetric metric;           // its damping is raised where that is needed
  std::vector<int32_t> order;  // of feedback, places; all of n
  const float* targets = nullptr;
  GridRows rows;  // of MakeGridRows; becomes the result
  SolverReport* report = nullptr;
};

// The note where feedback left a larger error than rounding to nearest, of
// weights of that energy.
std::string FeedbackIsWorse(double fed, double nearest, double energy);

// REQUIRES: the same shape, scheme and options. DataLoss as
// FactorGram's; ResourceExhausted if not even one fits.
absl::Status SolveGptqOnDevice(const Device& device,
                               absl::Span<DeviceGptqWork> works);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_GPTQ_H_
