// Measures a LossTable: every tensor encoded as every type it could have, and
// how much the model's output would change.
//
//   std::vector<ProbeTensor> tensors = {{&planned, {kQ3_K, kQ4_K}}, …};
//   ASSIGN_OR_RETURN(uint64_t print, ProbeFingerprint(…));
//   ASSIGN_OR_RETURN(LossTable table,
//                    ProbeLosses(model, samples, tensors, options));
//
// To second order, an error E of a matrix with inputs x changes the KL
// divergence from the model by (g^T E x)^2 / 2 in expectation over tokens and
// labels that the model itself would draw, g being the gradient of the loss
// at the matrix's output (calibration/backward/fisher_weights.h). With g and x
// taken as independent but for the token's weight w = |g|^2 / <|g|^2>, and the
// errors of rows too (Martens and Grosse, "Optimizing Neural Networks with
// Kronecker-factored Approximate Curvature", 2015, section 3), this is
//   sum_i <g_i^2> E_i <w x x^T> E_i^T / 2,
// a row E_i at a time. Of tensors with many rows a part is encoded, chosen in
// proportion to <g_i^2>. The token embedding's error goes straight into the
// first block: sum_j <g_j^2> <E_tj^2> / 2 over the text's tokens t; where it
// is the output matrix too, both are added.
//
// With a solver, errors are those of plain encoding times what the solver
// leaves of them, which is measured on rows of a few blocks, type by type.

#ifndef NARROW_CONVERTER_ALLOCATION_PROBE_H_
#define NARROW_CONVERTER_ALLOCATION_PROBE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/samples.h"
#include "converter/allocation/loss_table.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

struct ProbeTensor {
  const PlannedTensor* planned;  // its type does not matter
  std::vector<QuantType> types;
};

struct ProbeOptions {
  bool solver = false;  // types are written with SolveCompensated
  CompensatedOptions solver_options;
  int64_t max_rows = 1024;  // of a tensor that are encoded; all experts'
  int64_t max_solved_rows = 128;
  // Of the reverse pass, for who has a use for its moments afterwards; what is
  // measured does not depend on it.
  int64_t max_moment_outputs = 0;
  int n_threads = 0;
  int64_t hidden_bytes = int64_t{4} << 30;
  // Of the reverse pass and the solver that is tried; none: the processor.
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;  // may be empty
  std::function<void(double share)> on_progress;  // may be empty
  const std::atomic<bool>* cancelled = nullptr;
};

// Of all that the losses depend on.
absl::StatusOr<uint64_t> ProbeFingerprint(
    const Checkpoint& model, const CalibrationSamples& samples,
    const std::vector<ProbeTensor>& tensors, const ProbeOptions& options);

// Tensors whose input or gradient is not seen are left out of the table; its
// fingerprint is 0. The same for any number of threads and instruction set.
// DataLoss names a weight that is not finite. `fisher` (may be null) gets the
// weights of the reverse pass, per input.
absl::StatusOr<LossTable> ProbeLosses(const Checkpoint& model,
                                      const CalibrationSamples& samples,
                                      const std::vector<ProbeTensor>& tensors,
                                      const ProbeOptions& options,
                                      FisherWeights* fisher = nullptr);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_PROBE_H_
