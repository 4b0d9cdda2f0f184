// Tested by: row_errors_test.

#include "converter/allocation/row_errors.h"

#include <algorithm>

#include "formats/quant_type.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// Rows that a thread encodes at once.
constexpr int64_t kRowsAtOnce = 32;

// decoded - weights.
std::vector<float> Errors(const BlockCodec& codec,
                          const std::vector<float>& weights, int64_t n_cols,
                          const float* importance, ThreadPool* pool) {
  const int64_t n_rows = static_cast<int64_t>(weights.size()) / n_cols;
  const int64_t row_bytes =
      n_cols / codec.block * Geometry(codec.type).block_bytes;
  std::vector<float> errors(weights.size());
  pool->ParallelFor((n_rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i) {
    const int64_t first = i * kRowsAtOnce;
    const int64_t n = std::min(kRowsAtOnce, n_rows - first);
    const float* from = weights.data() + first * n_cols;
    float* to = errors.data() + first * n_cols;
    std::vector<uint8_t> bytes(static_cast<size_t>(n * row_bytes));
    codec.EncodeRows(from, n, n_cols, importance, bytes.data());
    codec.Decode(bytes.data(), n * n_cols / codec.block, to);
    for (int64_t k = 0; k < n * n_cols; ++k) {
      to[k] -= from[k];
    }
  });
  return errors;
}

}  // namespace

std::vector<WeighedRow> ChooseRows(const std::vector<double>& weights,
                                   int64_t max_rows) {
  std::vector<WeighedRow> chosen;
  double total = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) {
      chosen.push_back({static_cast<int64_t>(i), weights[i]});
      total += weights[i];
    }
  }
  if (static_cast<int64_t>(chosen.size()) <= max_rows) {
    return chosen;
  }
  const double step = total / static_cast<double>(max_rows);
  std::vector<WeighedRow> drawn;
  double sum = 0, next = step / 2;
  int64_t n_drawn = 0;
  for (const WeighedRow& row : chosen) {
    sum += row.weight;
    double weight = 0;
    while (next < sum && n_drawn < max_rows) {
      weight += step;
      next += step;
      ++n_drawn;
    }
    if (weight > 0) {
      drawn.push_back({row.row, weight});
    }
  }
  return drawn;
}

std::vector<int64_t> EvenRows(int64_t n, int64_t most) {
  std::vector<int64_t> rows;
  const int64_t n_chosen = std::min(n, most);
  for (int64_t i = 0; i < n_chosen; ++i) {
    rows.push_back((2 * i + 1) * n / (2 * n_chosen));
  }
  return rows;
}

std::vector<float> MeanGram(const LayerStats& stats) {
  const double divisor = stats.divisor();
  std::vector<float> gram(stats.gram.size());
  for (size_t i = 0; i < gram.size(); ++i) {
    gram[i] = static_cast<float>(stats.gram[i] / divisor);
  }
  return gram;
}

std::vector<double> RowErrors(const BlockCodec& codec,
                              const std::vector<float>& weights, int64_t n_cols,
                              const float* importance,
                              const std::vector<float>& gram,
                              ThreadPool* pool) {
  const std::vector<float> errors =
      Errors(codec, weights, n_cols, importance, pool);
  const int64_t n_rows = static_cast<int64_t>(weights.size()) / n_cols;
  std::vector<float> products(errors.size());
  Gemm(pool, Update::kSet, n_rows, n_cols, n_cols, errors.data(), n_cols,
       gram.data(), n_cols, products.data(), n_cols);
  std::vector<double> sums(static_cast<size_t>(n_rows));
  for (int64_t r = 0; r < n_rows; ++r) {
    double sum = 0;
    for (int64_t k = r * n_cols; k < (r + 1) * n_cols; ++k) {
      sum += static_cast<double>(errors[static_cast<size_t>(k)]) *
             static_cast<double>(products[static_cast<size_t>(k)]);
    }
    sums[static_cast<size_t>(r)] = std::max(0.0, sum);
  }
  return sums;
}

std::vector<double> DiagonalErrors(const BlockCodec& codec,
                                   const std::vector<float>& weights,
                                   int64_t n_cols, const float* importance,
                                   const std::vector<double>& diagonal,
                                   ThreadPool* pool) {
  const std::vector<float> errors =
      Errors(codec, weights, n_cols, importance, pool);
  std::vector<double> sums(weights.size() / static_cast<size_t>(n_cols));
  for (size_t r = 0; r < sums.size(); ++r) {
    for (size_t c = 0; c < static_cast<size_t>(n_cols); ++c) {
      const double e =
          static_cast<double>(errors[r * static_cast<size_t>(n_cols) + c]);
      sums[r] += diagonal[c] * (e * e);
    }
  }
  return sums;
}

}  // namespace narrow
