// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/plain_blocks.h"

#include <algorithm>
#include <cstddef>

#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/quant/device/shared_encoders.h"

namespace narrow {
namespace {

// No column counts less than this share of the mean for the encoder.
constexpr double kLeastImportance = 1e-6;
constexpr int64_t kRowsAtOnce = 16;

// Mean squares over their mean; empty where no input was seen.
std::vector<float> Importance(const Metric& metric) {
  std::vector<float> squares;
  for (int64_t i = 0; metric.mean > 0 && i < metric.n; ++i) {
    squares.push_back(static_cast<float>(std::max(
        metric.gram[i * metric.n + i] / metric.mean, kLeastImportance)));
  }
  return squares;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> EncodePlainly(
    const CompensatedProblem& problem, const Metric& metric) {
  const BlockCodec& codec = *problem.codec;
  const int64_t n = problem.n_cols;
  std::vector<float> squares;
  const float* importance = problem.importance;
  if (importance == nullptr) {
    squares = Importance(metric);
    if (squares.empty() && codec.requires_importance) {
      squares.assign(static_cast<size_t>(n), 1.0f);
    }
    importance = squares.empty() ? nullptr : squares.data();
  }
  const int64_t row_bytes = n / codec.block * Geometry(codec.type).block_bytes;
  std::vector<uint8_t> bytes(static_cast<size_t>(problem.n_rows * row_bytes));
  if (problem.encoders != nullptr && problem.encoders->Supports(codec.type)) {
    RETURN_IF_ERROR(problem.encoders->EncodeRows(
        codec, {problem.weights, /*is_bf16=*/false}, problem.n_rows, n,
        importance, bytes.data(), problem.name));
    return bytes;
  }
  problem.pool->ParallelFor(
      (problem.n_rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t part) {
        const int64_t first = part * kRowsAtOnce;
        codec.EncodeRows(problem.weights + first * n,
                         std::min(kRowsAtOnce, problem.n_rows - first), n,
                         codec.uses_importance ? importance : nullptr,
                         bytes.data() + first * row_bytes);
      });
  return bytes;
}

}  // namespace narrow
