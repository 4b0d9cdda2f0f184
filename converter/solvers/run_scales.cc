#include "converter/solvers/run_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "converter/solvers/solver_inputs.h"
#include "formats/packing/scale_type.h"

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

SolverReport SolveRunScales(const SolverProblem& problem,
                            const std::vector<float>& importance,
                            const ScaleBlocks& blocks,
                            QuantizedMatrix* matrix) {
  const WeightScheme& scheme = problem.scheme;
  const int64_t n_rows =
      scheme.block_rows > 0 ? scheme.block_rows : problem.n_rows;
  const int64_t n_cols =
      scheme.block_cols > 0 ? scheme.block_cols : problem.n_cols;
  const int64_t n_scale_cols = matrix->n_scale_cols();
  const int64_t n_scales = matrix->n_scale_rows() * n_scale_cols;
  std::vector<std::pair<double, double>> errors(static_cast<size_t>(n_scales));
  const auto solve = [&](int64_t i, ThreadPool* pool) {
    Rectangle rectangle(problem, importance, blocks, pool, matrix);
    const int64_t first_row = i / n_scale_cols * n_rows;
    const int64_t first_col = i % n_scale_cols * n_cols;
    for (int64_t r = first_row;
         r < std::min(first_row + n_rows, problem.n_rows); ++r) {
      rectangle.Add(r, first_col, std::min(n_cols, problem.n_cols - first_col));
    }
    errors[static_cast<size_t>(i)] =
        rectangle.Solve(&matrix->scales[static_cast<size_t>(i)]);
  };
  if (n_scales == 1) {
    solve(0, problem.pool);
  } else {
    problem.pool->ParallelFor(n_scales, [&](int64_t i) { solve(i, nullptr); });
  }
  double before = 0;
  double after = 0;
  for (const auto& [first, second] : errors) {
    before += first;
    after += second;
  }
  const double energy = Energy(problem, importance);
  SolverReport report;
  report.relative_error_before = Ratio(before, energy);
  report.relative_error = Ratio(after, energy);
  return report;
}

}  // namespace narrow
