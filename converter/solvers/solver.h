// A solver turns a weight matrix into codes and scales of a given scheme.
//
//   const Solver* solver = FindSolver("gptq");
//   RETURN_IF_ERROR(solver->supports(scheme, options));
//   ASSIGN_OR_RETURN(SolvedMatrix solved, solver->solve(problem));
//   solved.matrix; solved.report.error; solved.report.notes
//
// One file and one row in solvers.inc each. Solvers are pure: the same
// problem gives the same bits for any number of threads. What prepares a
// block beforehand by moving scales between layers (AWQ, SmoothQuant) is a
// Transform, transform.h.

#ifndef NARROW_CONVERTER_SOLVERS_SOLVER_H_
#define NARROW_CONVERTER_SOLVERS_SOLVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "formats/packing/quantized_matrix.h"
#include "kernels/device.h"
#include "kernels/grid/grid.h"

namespace narrow {

// All options of all solvers; a recipe sets them by name. The defaults are
// ours; presets (presets.h) set those of the peers.
struct SolverOptions {
  // Scales.
  FitOptions fit;  // the search of each group's range
  // By what an error in a column costs: the diagonal, or GPTQ's pivots.
  bool weighted_fit = true;
  // Integers of 2 to 4 bits without a zero may have negative scales (GridSpec).
  bool signed_scales = true;
  bool refit = true;  // closed-form scales under the Gram matrix
  bool sweep = true;  // coordinate descent on codes under it
  int rounds = 3;     // of refit and sweep
  // GPTQ.
  double damping = 0.03;       // times the mean of the diagonal
  double damping_step = 0.01;  // added when a factor fails
  enum class ColumnOrder : uint8_t {
    kNatural,
    kGroups,      // whole groups, and columns inside them (GAR): g_idx trivial
    kDescending,  // any order, static groups (act-order): g_idx trivial
    kDescendingDynamic,  // any order, groups of neighbours in it: g_idx
  };
  ColumnOrder order = ColumnOrder::kDescending;
  bool static_groups = true;  // scales before feedback, not on entering
  // Correction for the drift of the inputs: how much of (x - z) is undone.
  double drift = 0;  // GPTAQ: 0.25 in GPTQModel; Qronos: 1
  // How much of the residual stream's own drift the layers that add to it
  // undo besides.
  double residual = 0;
  double drift_damping = 0.1;
  // HQQ.
  float hqq_power = 0.7f;
  float hqq_beta = 10;
  float hqq_beta_growth = 1.01f;
  int hqq_iterations = 20;
  bool hqq_keep_best = true;
  bool hqq_round_zero = false;
  // NF4, FP4, int8, FP8, NVFP4, MXFP4: search of block scales (neighbouring
  // exponents, four over six); off: from the largest magnitude.
  bool scale_search = true;
  // Of NF4, FP4 and MXFP4 also where nothing is known of the inputs. What has
  // the least squared error then has no less KL divergence than the plain rule
  // (measured: docs/measurements.md, 9), so it is off.
  bool blind_search = false;
  // Least zero point that the packing can hold (1 for GPTQ v1).
  int zero_low = 0;
};

struct SolverProblem {
  absl::string_view name;  // for messages
  const float* weights;    // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  WeightScheme scheme;
  // nullptr where the solver needs none or none was seen.
  const LayerStats* stats = nullptr;
  // From an importance matrix, [n_cols]; used where there are no stats.
  const float* importance = nullptr;
  // NVFP4: shared by fused siblings; 0: the matrix's own.
  float global_scale = 0;
  // Second moments of the gradients of the loss at the outputs, [n_rows,
  // n_rows], symmetric; nullptr: outputs weigh alike, each by itself.
  const double* output_moments = nullptr;
  const SolverOptions* options = nullptr;
  ThreadPool* pool = nullptr;
  // A card, or the processor as one (kernels/device.h), for solvers that know
  // what to do with it; nullptr: the processor. No bit depends on it, unless
  // it may be `fast`: then on tensor cores and by NVIDIA's libraries, whose
  // sums have orders of their own, so that last digits differ.
  const Device* device = nullptr;
  bool fast = false;
};

struct SolverReport {
  // tr((W - Q) H (W - Q)^T) / tr(W H W^T), H the Gram matrix, its diagonal or
  // 1, as the solver had it.
  double relative_error = 0;
  double relative_error_before = 0;  // of round to nearest on the same grid
  double damping = 0;                // as it was in the end
  // What went otherwise than asked, for people and the report: damping
  // raised, a singular matrix, few rows.
  std::vector<std::string> notes;
};

struct SolvedMatrix {
  QuantizedMatrix matrix;
  SolverReport report;
};

struct Solver {
  const char* name;   // "rtn", "gptq", "hqq"
  const char* title;  // for listings: "GPTQ (Frantar et al., 2023)"
  StatsNeeds (*needs)(const SolverOptions& options);
  // Unimplemented or InvalidArgument: why not.
  absl::Status (*supports)(const WeightScheme& scheme,
                           const SolverOptions& options);
  // DataLoss: weights or statistics that are not finite, named.
  // FailedPrecondition: statistics missing.
  absl::StatusOr<SolvedMatrix> (*solve)(const SolverProblem& problem);
  // Several matrices of one shape, scheme and options at once on their device,
  // each as `solve` does it; nullptr: nothing is gained by that. REQUIRES:
  // one or more, with the same device, all fast or none.
  absl::StatusOr<std::vector<SolvedMatrix>> (*solve_many)(
      absl::Span<const SolverProblem> problems) = nullptr;
  // Whether it knows what to do with output_moments.
  bool couples_outputs = false;
};

#define NARROW_SOLVER(variable) extern const Solver variable;
#include "converter/solvers/solvers.inc"
#undef NARROW_SOLVER

// In the order of solvers.inc.
absl::Span<const Solver* const> AllSolvers();
const Solver* FindSolver(absl::string_view name);  // nullptr if unknown
std::string KnownSolverNames();

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_SOLVER_H_
