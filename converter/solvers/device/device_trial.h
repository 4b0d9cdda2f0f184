// What scales of columns are worth, on a device: the errors that quantization
// leaves in a layer's outputs under many candidates at once. The same numbers
// as scale_trial.cc has on the processor.
//
//   DeviceTrial trial(device, n_cols, gram);
//   RETURN_IF_ERROR(trial.Add(sample, candidates, absl::MakeSpan(errors)));
//
// A candidate is a matrix of a batch: its columns scaled, its grid searched,
// its error a product with the one Gram matrix. Where they do not fit into the
// device's memory fewer candidates are taken at once.

#ifndef NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_TRIAL_H_
#define NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_TRIAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "converter/solvers/solver.h"
#include "kernels/device.h"

namespace narrow {

// Scales of columns, and what a fit counts each column then.
struct TrialCandidate {
  absl::Span<const float> scales;          // [n_cols]
  absl::Span<const float> column_weights;  // the same, or empty: 1
};

class DeviceTrial {
 public:
  // `gram` [n_cols, n_cols], symmetric, is borrowed.
  DeviceTrial(const Device &device, int64_t n_cols,
              absl::Span<const float> gram)
      : device_(device), n_cols_(n_cols), gram_(gram) {}

  // Whether grids of the scheme are the device's: no row shares its scales
  // with others.
  static bool Supports(const WeightScheme &scheme);

  // Adds `weight` times the error of a sample's rows (problem.weights, without
  // scales) to `errors` of each candidate. ResourceExhausted: the device has
  // no room for one.
  absl::Status Add(const SolverProblem &sample, double weight,
                   absl::Span<const TrialCandidate> candidates,
                   absl::Span<double> errors);

  // What was done because memory was short; empty: nothing.
  const std::string &note() const { return note_; }

 private:
  absl::Status Open();

  const Device &device_;
  const int64_t n_cols_;
  const absl::Span<const float> gram_;
  DeviceStream stream_;
  DeviceBuffer gram_on_device_;
  std::string note_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DEVICE_DEVICE_TRIAL_H_
