#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

#include "kernels/compensated/compensated.h"

namespace narrow {
namespace {

// Row k of R[s, s] R[s, s]^T, s its run of `size` columns.
void PriceRow(const double* r, int64_t n, int64_t k, int64_t size, double scale,
              float* out) {
  const int64_t begin = k / size * size;
  for (int64_t i = begin; i < begin + size; ++i) {
    double sum = 0;
    for (int64_t j = std::max(i, k); j < begin + size; ++j) {
      sum += r[k * n + j] * r[i * n + j];
    }
    out[i - begin] = static_cast<float>(sum / scale);
  }
}

}  // namespace

FeedFactor MakeFeedFactor(ThreadPool* pool, const BlockCodec& codec, int64_t n,
                          const double* r, double scale,
                          std::vector<int32_t> order) {
  assert(n % codec.block == 0 && codec.unit <= kMaxUnit && scale > 0);
  const int unit = codec.unit;
  FeedFactor factor;
  factor.order = std::move(order);
  const bool natural = factor.order.empty();
  factor.block = codec.block;
  factor.n = n;
  factor.unit = unit;
  factor.m.assign(static_cast<size_t>(n * n), 0.0f);
  factor.metric.resize(static_cast<size_t>(n * unit));
  if (natural) {
    factor.block_metric.resize(static_cast<size_t>(n * codec.block));
  }
  factor.pivots.resize(static_cast<size_t>(n));
  const auto row = [&](int64_t k) {
    // x R[s, s]^-1 for the row's part x of each unit s, which R[s, s], upper
    // triangular, gives from the left.
    for (int64_t s = k / unit * unit; s < n; s += unit) {
      double y[kMaxUnit];
      for (int64_t j = s; j < s + unit; ++j) {
        double x = r[k * n + j];
        for (int64_t i = s; i < j; ++i) {
          x -= y[i - s] * r[i * n + j];
        }
        y[j - s] = x / r[j * n + j];
        factor.m[static_cast<size_t>(k * n + j)] =
            s > k ? static_cast<float>(y[j - s]) : (j == k ? 1.0f : 0.0f);
      }
    }
    PriceRow(r, n, k, unit, scale, factor.metric.data() + k * unit);
    if (natural) {
      PriceRow(r, n, k, codec.block, scale,
               factor.block_metric.data() + k * codec.block);
    }
    factor.pivots[static_cast<size_t>(k)] =
        factor.metric[static_cast<size_t>(k * unit + k % unit)];
  };
  if (pool != nullptr) {
    pool->ParallelFor(n, row);
  } else {
    for (int64_t k = 0; k < n; ++k) {
      row(k);
    }
  }
  return factor;
}

}  // namespace narrow
