#include "converter/quantize/block/layer_solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/fp4_scale.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "formats/packing/bitsandbytes/nested_scales.h"

namespace narrow {
namespace {

// FNV-1a over words.
constexpr uint64_t kHashBegin = 0xcbf29ce484222325;
constexpr uint64_t kHashPrime = 0x100000001b3;
constexpr int64_t kLanes = 8;  // words hashed side by side

constexpr float kMaxE4M3 = 448;
constexpr float kMaxE2M1 = 6;

uint64_t HashRow(const float* row, int64_t n_cols) {
  uint64_t lanes[kLanes];
  for (uint64_t& lane : lanes) {
    lane = kHashBegin;
  }
  for (int64_t i = 0; i < n_cols; ++i) {
    const uint32_t bits = FloatBits(row[i]);
    uint64_t& lane = lanes[i % kLanes];
    lane = (lane ^ (bits == 0x80000000 ? 0 : bits)) * kHashPrime;
  }
  uint64_t hash = kHashBegin;
  for (const uint64_t lane : lanes) {
    hash = (hash ^ lane) * kHashPrime;
  }
  return hash;
}

// The scale that clients give the inputs, from the largest one seen.
absl::Status SetInputScale(const LayerStats* stats, QuantizedMatrix* matrix) {
  const ActivationKind kind = matrix->scheme.activations;
  if (!HasInputScale(kind) || matrix->input_scale.has_value()) {
    return absl::OkStatus();
  }
  if (stats == nullptr) {
    return absl::FailedPreconditionError(
        "no input was seen, and its scale is to be stored");
  }
  float max_abs = 0;
  for (const float value : stats->max_abs) {
    max_abs = std::max(max_abs, value);
  }
  if (!(max_abs > 0)) {
    max_abs = 1;  // never fed: any scale does
  }
  matrix->input_scale = kind == ActivationKind::kStaticInt8 ? max_abs / 127
                        : kind == ActivationKind::kStaticFp8
                            ? max_abs / kMaxE4M3
                            : kMaxE4M3 * kMaxE2M1 / max_abs;
  return absl::OkStatus();
}

const PlannedLayer& LayerOf(const LayerProblem& problem) {
  return problem.plan->layers[static_cast<size_t>(problem.layer)];
}

// `options` are borrowed.
SolverProblem ToSolve(const LayerProblem& problem, const SolverOptions* options,
                      ThreadPool* pool) {
  const PlannedLayer& layer = LayerOf(problem);
  SolverProblem to_solve;
  to_solve.name = layer.name();
  to_solve.weights = problem.weights;
  to_solve.n_rows = layer.n_rows();
  to_solve.n_cols = layer.n_cols();
  to_solve.scheme = layer.scheme;
  to_solve.stats = problem.stats;
  to_solve.importance = problem.importance;
  to_solve.output_moments = problem.output_moments;
  to_solve.global_scale = problem.global_scale;
  to_solve.options = options;
  to_solve.pool = pool;
  to_solve.device = problem.device;
  to_solve.fast = problem.plan->recipe.calibration().precision() == "fast";
  return to_solve;
}

// What a solver made, checked and packed.
absl::StatusOr<SolvedLayer> Finish(const LayerProblem& problem,
                                   SolvedMatrix solved, ThreadPool* pool) {
  const QuantizePlan& plan = *problem.plan;
  const PlannedLayer& layer = LayerOf(problem);
  if (solved.matrix.scheme != layer.scheme) {
    return absl::InternalError(
        absl::StrCat("the solver gave ", SchemeName(solved.matrix.scheme),
                     ", planned was ", SchemeName(layer.scheme)));
  }
  RETURN_IF_ERROR(SetInputScale(problem.stats, &solved.matrix));
  RETURN_IF_ERROR(CheckQuantizedMatrix(solved.matrix));
  SolvedLayer result;
  ASSIGN_OR_RETURN(result.planes,
                   plan.packing->pack(solved.matrix, plan.model_dtype));
  for (size_t p = 0; p < layer.planes.size(); ++p) {
    if (result.planes.size() != layer.planes.size() ||
        static_cast<int64_t>(result.planes[p].size()) !=
            layer.planes[p].n_bytes()) {
      return absl::InternalError("the packing made other planes than planned");
    }
  }
  if (layer.scheme.nested_scales) {
    // Clients see what is left of the scales.
    solved.matrix.scales =
        UnnestScales(NestScales(solved.matrix.scales), DynamicMap());
  }
  LayerReport& report = result.report;
  report.name = layer.name();
  report.relative_error = solved.report.relative_error;
  report.error_rounding = solved.report.relative_error_before;
  report.damping = solved.report.damping;
  report.notes = std::move(solved.report.notes);
  if (problem.stats != nullptr) {
    report.n_tokens = problem.stats->n_rows;
    report.shrinkage = problem.stats->shrinkage;
  }
  report.hash = HashMatrix(solved.matrix, pool);
  result.matrix = std::move(solved.matrix);
  return result;
}

absl::Status NameLayer(const absl::Status& status,
                       const LayerProblem& problem) {
  const PlannedLayer& layer = LayerOf(problem);
  return Annotate(status, absl::StrCat("quantizing '", layer.name(), "' by ",
                                       layer.solver->name));
}

}  // namespace

absl::StatusOr<SolvedLayer> SolveLayer(const LayerProblem& problem,
                                       ThreadPool* pool) {
  const PlannedLayer& layer = LayerOf(problem);
  const SolverOptions options = problem.plan->OptionsFor(layer.scheme);
  absl::StatusOr<SolvedMatrix> solved =
      layer.solver->solve(ToSolve(problem, &options, pool));
  if (!solved.ok()) {
    return NameLayer(solved.status(), problem);
  }
  auto finished = Finish(problem, *std::move(solved), pool);
  return finished.ok() ? std::move(finished)
                       : NameLayer(finished.status(), problem);
}

bool SolvedTogether(const PlannedLayer& a, const PlannedLayer& b) {
  return a.solver == b.solver && a.solver->solve_many != nullptr &&
         a.n_rows() == b.n_rows() && a.n_cols() == b.n_cols() &&
         a.scheme == b.scheme;
}

absl::StatusOr<std::vector<SolvedLayer>> SolveLayers(
    absl::Span<const LayerProblem> problems, ThreadPool* pool) {
  const PlannedLayer& layer = LayerOf(problems[0]);
  const SolverOptions options = problems[0].plan->OptionsFor(layer.scheme);
  std::vector<SolverProblem> to_solve;
  for (const LayerProblem& problem : problems) {
    to_solve.push_back(ToSolve(problem, &options, pool));
  }
  absl::StatusOr<std::vector<SolvedMatrix>> solved =
      layer.solver->solve_many(to_solve);
  if (!solved.ok()) {
    return NameLayer(solved.status(), problems[0]);
  }
  std::vector<SolvedLayer> layers;
  for (size_t i = 0; i < problems.size(); ++i) {
    auto finished = Finish(problems[i], std::move((*solved)[i]), pool);
    if (!finished.ok()) {
      return NameLayer(finished.status(), problems[i]);
    }
    layers.push_back(*std::move(finished));
  }
  return layers;
}

uint64_t HashMatrix(const QuantizedMatrix& matrix, ThreadPool* pool) {
  std::vector<uint64_t> hashes(static_cast<size_t>(matrix.n_rows));
  const int64_t step = std::max<int64_t>(1, (1 << 15) / matrix.n_cols);
  const int64_t n_pieces = (matrix.n_rows + step - 1) / step;
  const auto hash_piece = [&](int64_t piece) {
    const int64_t first = piece * step;
    const int64_t n = std::min(step, matrix.n_rows - first);
    std::vector<float> rows(static_cast<size_t>(n * matrix.n_cols));
    DequantizeRows(matrix, first, n, rows.data());
    for (int64_t r = 0; r < n; ++r) {
      hashes[static_cast<size_t>(first + r)] =
          HashRow(rows.data() + r * matrix.n_cols, matrix.n_cols);
    }
  };
  if (pool != nullptr) {
    pool->ParallelFor(n_pieces, hash_piece);
  } else {
    for (int64_t i = 0; i < n_pieces; ++i) {
      hash_piece(i);
    }
  }
  uint64_t hash = kHashBegin;
  for (const uint64_t row : hashes) {
    hash = (hash ^ row) * kHashPrime;
  }
  return hash;
}

float FusedGlobalScale(const QuantizePlan& plan, const PlannedLayer& layer,
                       float max_abs) {
  return Nvfp4GlobalScale(max_abs, plan.OptionsFor(layer.scheme));
}

float MaxAbs(const float* values, int64_t n) {
  float max_abs = 0;
  for (int64_t i = 0; i < n; ++i) {
    max_abs = std::max(max_abs, std::fabs(values[i]));
  }
  return max_abs;
}

}  // namespace narrow
