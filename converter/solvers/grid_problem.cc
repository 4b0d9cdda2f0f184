#include "converter/solvers/grid_problem.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/fp4_scale.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr float kLargestE2M1 = 6;
constexpr float kLargestE4M3 = 448;
constexpr int kMostSignedBits = 4;

float LargestMagnitude(const SolverProblem& problem) {
  float largest = 0;
  const float* const end = problem.weights + problem.n_rows * problem.n_cols;
  for (const float* w = problem.weights; w != end; ++w) {
    largest = std::max(largest, std::abs(*w));
  }
  return largest;
}

float GlobalScale(const SolverProblem& problem) {
  if (!problem.scheme.global_scale) {
    return 1;
  }
  if (problem.global_scale > 0) {
    return problem.global_scale;
  }
  return Nvfp4GlobalScale(LargestMagnitude(problem), *problem.options);
}

struct Extent {
  float low = 0;
  float high = 0;
};

// Of every block of a problem whose rows share scales: [block rows, groups].
std::vector<Extent> BlockExtents(const SolverProblem& problem,
                                 const float* weights, const GridRows& rows) {
  const int64_t n_block_rows = NumScaleRows(problem.scheme, problem.n_rows);
  const int64_t height = problem.scheme.block_rows > 0
                             ? problem.scheme.block_rows
                             : problem.n_rows;
  std::vector<Extent> extents(
      static_cast<size_t>(n_block_rows * rows.n_groups));
  problem.pool->ParallelFor(n_block_rows, [&](int64_t b) {
    const int64_t end = std::min(problem.n_rows, (b + 1) * height);
    for (int64_t row = b * height; row < end; ++row) {
      for (int64_t j = 0; j < problem.n_cols; ++j) {
        Extent& e =
            extents[static_cast<size_t>(b * rows.n_groups + rows.GroupOf(j))];
        const float w = weights[row * problem.n_cols + j];
        e.low = std::min(e.low, w);
        e.high = std::max(e.high, w);
      }
    }
  });
  return extents;
}

// A block's scale is that of a row of two weights, its extent.
void FitSharedScales(const SolverProblem& problem, const float* weights,
                     GridRows* rows) {
  const std::vector<Extent> extents = BlockExtents(problem, weights, *rows);
  std::vector<float> ends;
  for (const Extent& e : extents) {
    ends.push_back(e.low);
    ends.push_back(e.high);
  }
  GridSpec spec = rows->spec;
  spec.group = 0;
  GridRows blocks(spec, static_cast<int64_t>(extents.size()), 2);
  FitOptions options = problem.options->fit;
  options.search = FitOptions::Search::kMinMax;
  FitGroups(ends.data(), 2, nullptr, options, &blocks, problem.pool);
  const int64_t height = problem.scheme.block_rows > 0
                             ? problem.scheme.block_rows
                             : problem.n_rows;
  for (int64_t row = 0; row < rows->n_rows; ++row) {
    for (int64_t group = 0; group < rows->n_groups; ++group) {
      const size_t to = static_cast<size_t>(row * rows->n_groups + group);
      const size_t from =
          static_cast<size_t>(row / height * rows->n_groups + group);
      rows->scales[to] = blocks.scales[from];
      if (!rows->zeros.empty()) {
        rows->zeros[to] = blocks.zeros[from];
      }
    }
  }
}

// One row's of all rows that share them.
std::vector<float> SharedValues(const SolverProblem& problem,
                                const std::vector<float>& values,
                                int64_t n_groups) {
  const int64_t height = problem.scheme.block_rows > 0
                             ? problem.scheme.block_rows
                             : problem.n_rows;
  std::vector<float> shared;
  for (int64_t row = 0; !values.empty() && row < problem.n_rows;
       row += height) {
    const auto first = values.begin() + row * n_groups;
    shared.insert(shared.end(), first, first + n_groups);
  }
  return shared;
}

// What the largest input becomes, under the scale that a file stores.
absl::Status SetInputScale(const SolverProblem& problem,
                           QuantizedMatrix* matrix) {
  float limit = 0;
  switch (problem.scheme.activations) {
    case ActivationKind::kStaticInt8:
      limit = 127;
      break;
    case ActivationKind::kStaticFp8:
      limit = kLargestE4M3;
      break;
    case ActivationKind::kNvfp4:
      limit = kLargestE2M1 * kLargestE4M3;
      break;
    default:
      return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const float scale, StaticInputScale(problem, limit));
  // NVFP4's is what inputs are multiplied with.
  matrix->input_scale =
      problem.scheme.activations == ActivationKind::kNvfp4 ? 1 / scale : scale;
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGridScheme(const WeightScheme& scheme) {
  if (scheme.nested_scales) {
    return absl::UnimplementedError(absl::StrCat(
        "scheme ", SchemeName(scheme),
        ": scales that are codes themselves are solved by 'codebook' alone"));
  }
  if (scheme.flat && scheme.block_cols == 0) {
    return absl::UnimplementedError("one block of a whole tensor, flat");
  }
  if (scheme.code == CodeKind::kInteger &&
      (scheme.bits < 1 || scheme.bits > 8)) {
    return absl::UnimplementedError(
        absl::StrCat("integers of ", scheme.bits, " bits; 1 to 8 are known"));
  }
  return absl::OkStatus();
}

bool SharesScales(const WeightScheme& scheme) {
  return !scheme.flat && scheme.block_rows != 1;
}

GridSpec MakeGridSpec(const SolverProblem& problem) {
  const WeightScheme& scheme = problem.scheme;
  GridSpec spec;
  spec.code = scheme.code;
  spec.bits = scheme.bits;
  spec.zero = scheme.zero;
  spec.group = scheme.block_cols;
  spec.scale_type = scheme.scale_type;
  spec.scale_unit = scheme.scale_unit;
  spec.global_scale = GlobalScale(problem);
  spec.zero_low = problem.options->zero_low;
  spec.code_low = scheme.scale_unit != 1 ? 1 : 0;
  // Among 256 levels one more says nothing.
  spec.signed_scales =
      problem.options->signed_scales && scheme.bits <= kMostSignedBits;
  return spec;
}

GridRows MakeGridRows(const SolverProblem& problem) {
  return GridRows(MakeGridSpec(problem), problem.n_rows, problem.n_cols);
}

void FitScales(const SolverProblem& problem, const float* weights,
               const float* column_weights, GridRows* rows) {
  if (SharesScales(problem.scheme)) {
    FitSharedScales(problem, weights, rows);
    return;
  }
  FitGroups(weights, problem.n_cols, column_weights, problem.options->fit, rows,
            problem.pool);
}

absl::StatusOr<QuantizedMatrix> ToMatrix(const SolverProblem& problem,
                                         GridRows rows) {
  QuantizedMatrix matrix;
  matrix.scheme = problem.scheme;
  matrix.n_rows = problem.n_rows;
  matrix.n_cols = problem.n_cols;
  matrix.codes = std::move(rows.codes);
  matrix.global_scale = rows.spec.global_scale;
  if (SharesScales(problem.scheme)) {
    matrix.scales = SharedValues(problem, rows.scales, rows.n_groups);
    matrix.zeros = SharedValues(problem, rows.zeros, rows.n_groups);
  } else {
    matrix.scales = std::move(rows.scales);
    matrix.zeros = std::move(rows.zeros);
  }
  if (problem.scheme.column_groups) {
    for (int64_t j = 0; j < problem.n_cols; ++j) {
      matrix.group_of_column.push_back(rows.GroupOf(j));
    }
  }
  RETURN_IF_ERROR(SetInputScale(problem, &matrix));
  return matrix;
}

}  // namespace narrow
