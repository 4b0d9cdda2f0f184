#include "converter/solvers/runs/run_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/packing/scale_type.h"
#include "kernels/runs/device/device_spans.h"

namespace narrow {
namespace {

// Consecutive weights, at most kMaxRun, and what each counts (nullptr: 1).
struct Piece {
  const float* x;
  const float* weights;
  int64_t n;
  uint8_t* codes;
};

// Weights that are worth a thread of their own.
constexpr int64_t kPiecesAtOnce = 64;

// The pieces of one scale. With a pool its threads share them out.
class Rectangle {
 public:
  Rectangle(const SolverProblem& problem, const std::vector<float>& importance,
            const ScaleBlocks& blocks, ThreadPool* pool,
            QuantizedMatrix* matrix)
      : problem_(problem),
        importance_(importance),
        blocks_(blocks),
        pool_(pool),
        kernels_(RunKernelsForCpu()),
        matrix_(matrix) {}

  void Add(int64_t row, int64_t first_col, int64_t n_cols) {
    while (n_cols > 0) {
      const int64_t n = std::min(n_cols, kMaxRun);
      const int64_t at = row * problem_.n_cols + first_col;
      pieces_.push_back(
          {problem_.weights + at,
           importance_.empty() ? nullptr : importance_.data() + first_col, n,
           matrix_->codes.data() + at});
      first_col += n;
      n_cols -= n;
    }
  }

  // Errors before and after; the scale to `scale`.
  std::pair<double, double> Solve(float* scale) {
    float top = 0;
    for (const Piece& piece : pieces_) {
      top = std::max(top, kernels_.max_abs(piece.x, piece.n));
    }
    const QuantType type = problem_.scheme.scale_type;
    const float unit = problem_.scheme.scale_unit;
    const float whole = top / blocks_.top;
    *scale = top > 0 ? LegalScale(type, whole) : 1.0f;
    RunSums least = Measure(*scale * unit);
    const double before = least.error;
    for (const float factor :
         top > 0 ? blocks_.factors : absl::Span<const float>()) {
      Try(LegalScale(type, whole * factor), unit, scale, &least);
    }
    for (int i = 0; top > 0 && i < blocks_.n_refits; ++i) {
      if (!(least.product > 0) ||
          !Try(
              LegalScale(type, static_cast<float>(least.product / least.square /
                                                  double{unit})),
              unit, scale, &least)) {
        break;
      }
    }
    Round(*scale);
    return {before, least.error};
  }

 private:
  // Whether `trial` took the place of `scale`.
  bool Try(float trial, float unit, float* scale, RunSums* least) const {
    if (trial == *scale) {
      return false;
    }
    const RunSums sums = Measure(trial * unit);
    if (!(sums.error < least->error)) {
      return false;
    }
    *scale = trial;
    *least = sums;
    return true;
  }

  RunSums Measure(float scale) const {
    const int64_t n_parts =
        (static_cast<int64_t>(pieces_.size()) + kPiecesAtOnce - 1) /
        kPiecesAtOnce;
    std::vector<RunSums> sums(static_cast<size_t>(n_parts));
    ForParts(n_parts, [&](int64_t part) {
      RunSums& sum = sums[static_cast<size_t>(part)];
      ForPieces(part, [&](const Piece& piece) {
        sum.Add(kernels_.measure(blocks_.grid, piece.x, piece.weights, piece.n,
                                 scale));
      });
    });
    RunSums total;
    for (const RunSums& sum : sums) {
      total.Add(sum);
    }
    return total;
  }

  void Round(float scale) const {
    const float factor = blocks_.division == RunDivision::kDivide
                             ? scale * problem_.scheme.scale_unit
                             : 1.0f / scale * blocks_.inverse_unit;
    const int64_t n_parts =
        (static_cast<int64_t>(pieces_.size()) + kPiecesAtOnce - 1) /
        kPiecesAtOnce;
    ForParts(n_parts, [&](int64_t part) {
      ForPieces(part, [&](const Piece& piece) {
        kernels_.round(blocks_.grid, piece.x, piece.n, factor, blocks_.division,
                       piece.codes);
      });
    });
  }

  void ForParts(int64_t n_parts, absl::FunctionRef<void(int64_t)> body) const {
    if (pool_ != nullptr) {
      pool_->ParallelFor(n_parts, body);
      return;
    }
    for (int64_t part = 0; part < n_parts; ++part) {
      body(part);
    }
  }
  template <typename Body>
  void ForPieces(int64_t part, const Body& body) const {
    const size_t end = std::min(
        pieces_.size(), static_cast<size_t>((part + 1) * kPiecesAtOnce));
    for (size_t i = static_cast<size_t>(part * kPiecesAtOnce); i < end; ++i) {
      body(pieces_[i]);
    }
  }

  const SolverProblem& problem_;
  const std::vector<float>& importance_;
  const ScaleBlocks& blocks_;
  ThreadPool* pool_;
  const RunKernels& kernels_;
  QuantizedMatrix* matrix_;
  std::vector<Piece> pieces_;
};

// Rows and columns of a rectangle.
struct Shape {
  explicit Shape(const SolverProblem& problem)
      : n_rows(problem.scheme.block_rows > 0 ? problem.scheme.block_rows
                                             : problem.n_rows),
        n_cols(problem.scheme.block_cols > 0 ? problem.scheme.block_cols
                                             : problem.n_cols) {}
  int64_t n_rows;
  int64_t n_cols;
};

// What a scale became.
struct RunErrors {
  std::vector<double> before;
  std::vector<double> after;
};

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  return sum;
}

SolverReport ReportOf(const RunErrors& errors, double energy) {
  SolverReport report;
  report.relative_error_before = Ratio(Sum(errors.before), energy);
  report.relative_error = Ratio(Sum(errors.after), energy);
  return report;
}

std::optional<one_lane::StoredScale> StoredOnDevice(QuantType type) {
  switch (type) {
    case QuantType::kF32:
      return one_lane::StoredScale::kF32;
    case QuantType::kF16:
      return one_lane::StoredScale::kF16;
    case QuantType::kBF16:
      return one_lane::StoredScale::kBF16;
    case QuantType::kF8E4M3:
      return one_lane::StoredScale::kE4M3;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<SolverReport> SolveOnDevice(const SolverProblem& problem,
                                           const std::vector<float>& importance,
                                           const ScaleBlocks& blocks,
                                           one_lane::StoredScale stored,
                                           QuantizedMatrix* matrix) {
  const Shape shape(problem);
  SpanProblem spans;
  spans.name = problem.name;
  spans.weights = problem.weights;
  spans.n_rows = problem.n_rows;
  spans.n_cols = problem.n_cols;
  spans.height = std::min(shape.n_rows, problem.n_rows);
  spans.width = std::min(shape.n_cols, problem.n_cols);
  spans.importance = importance;
  spans.grid = blocks.grid;
  spans.stored = stored;
  spans.unit = problem.scheme.scale_unit;
  spans.over = blocks.top;
  spans.factors = blocks.factors;
  spans.n_refits = blocks.n_refits;
  spans.division = blocks.division;
  spans.inverse_unit = blocks.inverse_unit;
  SpanResults results;
  std::string note;
  RETURN_IF_ERROR(SolveSpans(
      *problem.device, spans,
      [&](int64_t n_rows, absl::string_view why) {
        note = absl::StrCat("solved ", n_rows, " rows at once: ", why);
      },
      &results));
  matrix->scales = std::move(results.scales);
  matrix->codes = std::move(results.codes);
  SolverReport report =
      ReportOf({std::move(results.before), std::move(results.after)},
               Sum(results.energies));
  if (!note.empty()) {
    report.notes.push_back(std::move(note));
  }
  return report;
}

SolverReport SolveOnProcessor(const SolverProblem& problem,
                              const std::vector<float>& importance,
                              const ScaleBlocks& blocks,
                              QuantizedMatrix* matrix) {
  const Shape shape(problem);
  const int64_t n_scale_cols = matrix->n_scale_cols();
  const int64_t n_scales = matrix->n_scale_rows() * n_scale_cols;
  RunErrors errors = {std::vector<double>(static_cast<size_t>(n_scales)),
                      std::vector<double>(static_cast<size_t>(n_scales))};
  const auto solve = [&](int64_t i, ThreadPool* pool) {
    Rectangle rectangle(problem, importance, blocks, pool, matrix);
    const int64_t first_row = i / n_scale_cols * shape.n_rows;
    const int64_t first_col = i % n_scale_cols * shape.n_cols;
    for (int64_t r = first_row;
         r < std::min(first_row + shape.n_rows, problem.n_rows); ++r) {
      rectangle.Add(r, first_col,
                    std::min(shape.n_cols, problem.n_cols - first_col));
    }
    const size_t at = static_cast<size_t>(i);
    std::tie(errors.before[at], errors.after[at]) =
        rectangle.Solve(&matrix->scales[at]);
  };
  if (n_scales == 1) {
    solve(0, problem.pool);
  } else {
    problem.pool->ParallelFor(n_scales, [&](int64_t i) { solve(i, nullptr); });
  }
  return ReportOf(errors, Energy(problem, importance));
}

}  // namespace

float LegalScale(QuantType type, float scale) {
  const float rounded = RoundToScaleType(type, scale);
  if (std::isinf(rounded)) {
    return type == QuantType::kF16 ? 65504.0f : 3.3895314e38f;
  }
  if (rounded > 0) {
    return rounded;
  }
  // The least normal numbers; below, reciprocals overflow.
  return type == QuantType::kF16      ? 0x1p-14f
         : type == QuantType::kF8E4M3 ? 0x1p-9f
                                      : std::numeric_limits<float>::min();
}

absl::StatusOr<SolverReport> SolveRunScales(
    const SolverProblem& problem, const std::vector<float>& importance,
    const ScaleBlocks& blocks, QuantizedMatrix* matrix) {
  const auto stored = StoredOnDevice(problem.scheme.scale_type);
  if (problem.device == nullptr || !stored.has_value()) {
    return SolveOnProcessor(problem, importance, blocks, matrix);
  }
  absl::StatusOr<SolverReport> report =
      SolveOnDevice(problem, importance, blocks, *stored, matrix);
  if (absl::IsResourceExhausted(report.status())) {
    std::string note = SolvedOnProcessor(report.status());
    report = SolveOnProcessor(problem, importance, blocks, matrix);
    report->notes.push_back(std::move(note));
  }
  return report;
}

}  // namespace narrow
