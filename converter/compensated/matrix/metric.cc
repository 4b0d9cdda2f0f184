// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/metric.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/device/device_factor.h"

namespace narrow {
namespace {

// Dampings tried before giving up: the last is 2^11 steps.
constexpr int kMaxTries = 12;
constexpr double kDampingStep = 0.01;
// Added for error feedback where blocks have 256 weights: fields are fitted
// when a block's first column comes, so the less the columns behind it are
// moved, the better they fit. Measured on tiny-llama, error on another text
// with nothing added, 0.1, 0.2: Q2_K 1, 0.985, 0.982; Q4_K 1, 0.989, 0.986;
// IQ2_S 1, 0.989, 0.988; Q4_0, whose blocks are of 32, 1, 1.004, 1.013.
constexpr double kFeedDamping = 0.1;
constexpr int kLargeBlock = 256;

// R of H in `h`, its rows and columns in an order (empty: the natural one). The
// processor does what a device has no memory for.
absl::StatusOr<FactorResult> Factor(const CompensatedProblem& problem,
                                    const Metric& metric,
                                    const std::vector<int32_t>& order,
                                    std::vector<double>* h) {
  const int64_t n = metric.n;
  FactorResult result;
  h->resize(static_cast<size_t>(n * n));
  problem.pool->ParallelFor(n, [&](int64_t i) {
    for (int64_t j = i; j < n; ++j) {
      (*h)[static_cast<size_t>(i * n + j)] =
          order.empty() ? metric.At(i, j)
                        : metric.At(order[static_cast<size_t>(i)],
                                    order[static_cast<size_t>(j)]);
    }
    (*h)[static_cast<size_t>(i * n + i)] += metric.feed_damping * metric.mean;
  });
  if (problem.device != nullptr) {
    const absl::Status status = FactorUpperOnDevice(
        *problem.device, problem.name, n, h->data(), &result);
    if (!absl::IsResourceExhausted(status)) {
      RETURN_IF_ERROR(status);
      return result;
    }
  }
  return FactorUpper(problem.pool, n, h->data());
}

FeedFactor MakeFactor(const CompensatedProblem& problem, const Metric& metric,
                      const std::vector<double>& r,
                      std::vector<int32_t> order) {
  // Inputs that have nothing in common and equal sizes have pivots 1.
  return MakeFeedFactor(
      problem.pool, *problem.codec, metric.n, r.data(),
      metric.mean * (1 + metric.damping + metric.feed_damping),
      std::move(order));
}

}  // namespace

Metric MakeMetric(const CompensatedProblem& problem) {
  Metric metric;
  metric.gram = problem.stats->gram.data();
  metric.n = problem.n_cols;
  metric.damping = problem.options->damping;
  metric.feed_damping = problem.codec->block >= kLargeBlock ? kFeedDamping : 0;
  double sum = 0;
  for (int64_t i = 0; i < metric.n; ++i) {
    sum += metric.gram[i * metric.n + i];
  }
  metric.mean = sum / static_cast<double>(metric.n);
  return metric;
}

absl::StatusOr<FeedFactor> FactorMetric(const CompensatedProblem& problem,
                                        Metric* metric,
                                        std::vector<std::string>* notes) {
  const double asked = metric->damping;
  std::vector<double> h;
  FactorResult result;
  double step = kDampingStep;
  for (int tries = 0; tries < kMaxTries; ++tries, step *= 2) {
    ASSIGN_OR_RETURN(result, Factor(problem, *metric, {}, &h));
    if (result.failed_at < 0) {
      break;
    }
    metric->damping += step;
  }
  if (result.failed_at >= 0) {
    return absl::DataLossError(
        absl::StrCat("the Gram matrix of tensor ", QuotedName(problem.name),
                     " is not positive even with ", metric->damping,
                     " of its mean diagonal added; pivot ", result.failed_at,
                     " is ", result.failed_pivot));
  }
  if (metric->damping != asked) {
    notes->push_back(absl::StrCat(
        "damping raised from ", asked, " to ", metric->damping,
        ", as the Gram matrix is not positive definite in float64"));
  }
  return MakeFactor(problem, *metric, h, {});
}

std::optional<FeedFactor> FactorInOrder(const CompensatedProblem& problem,
                                        const Metric& metric,
                                        std::vector<int32_t> order) {
  std::vector<double> r;
  const auto result = Factor(problem, metric, order, &r);
  if (!result.ok() || result->failed_at >= 0) {
    return std::nullopt;
  }
  return MakeFactor(problem, metric, r, std::move(order));
}

std::vector<int32_t> MakeOrder(const CompensatedProblem& problem,
                               const Metric& metric, int number) {
  const int64_t unit = problem.codec->unit;
  std::vector<int64_t> units(static_cast<size_t>(metric.n / unit));
  std::iota(units.begin(), units.end(), int64_t{0});
  if (number == 1) {
    std::vector<double> squares(units.size(), 0.0);
    for (int64_t i = 0; i < metric.n; ++i) {
      squares[static_cast<size_t>(i / unit)] += metric.gram[i * metric.n + i];
    }
    std::stable_sort(units.begin(), units.end(), [&](int64_t a, int64_t b) {
      return squares[static_cast<size_t>(a)] > squares[static_cast<size_t>(b)];
    });
  } else if (number == 2) {
    std::reverse(units.begin(), units.end());
  } else {
    uint64_t state = static_cast<uint64_t>(number);
    for (size_t i = units.size() - 1; i > 0; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(units[i], units[(state >> 33) % (i + 1)]);
    }
  }
  std::vector<int32_t> order;
  for (const int64_t place : units) {
    for (int64_t i = 0; i < unit; ++i) {
      order.push_back(static_cast<int32_t>(place * unit + i));
    }
  }
  return order;
}

std::vector<float> GramInFloat(const CompensatedProblem& problem,
                               const Metric& metric) {
  const int64_t n = metric.n;
  std::vector<float> gram(static_cast<size_t>(n * n));
  problem.pool->ParallelFor(n, [&](int64_t i) {
    for (int64_t j = 0; j < n; ++j) {
      gram[static_cast<size_t>(i * n + j)] =
          static_cast<float>(metric.At(i, j) / metric.mean);
    }
  });
  return gram;
}

}  // namespace narrow
