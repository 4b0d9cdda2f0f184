// Round to nearest on a device: scales searched, weights rounded, errors
// measured; many matrices of one shape and scheme at once. The same codes,
// scales and errors as rtn.cc has on the processor.
//
//   std::vector<DeviceRtnWork> works = ...;
//   RETURN_IF_ERROR(RoundOnDevice(device, absl::MakeSpan(works)));
//   works[0].rows;  works[0].errors
//
// Where they do not fit into the device's memory fewer are taken at once, and
// of one that does not fit as many rows as do.

#ifndef NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_RTN_H_
#define NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_RTN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "converter/solvers/solver.h"
#include "kernels/device.h"
#include "kernels/grid/grid.h"

namespace narrow {

// One matrix on its way. Everything but results is borrowed.
struct DeviceRtnWork {
  const SolverProblem* problem = nullptr;
  absl::Span<const float> importance;  // [n_cols], or empty
  // Of MakeGridRows, with scales if rows share them; becomes the result.
  GridRows rows;
  // Of each row, importance times squares: of the weights, of their errors.
  std::vector<double> energies;
  std::vector<double> errors;
  std::string note;  // where memory was short
};

// REQUIRES: the same shape, scheme and options. ResourceExhausted: not even a
// row fits.
absl::Status RoundOnDevice(const Device& device,
                           absl::Span<DeviceRtnWork> works);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_RTN_H_
