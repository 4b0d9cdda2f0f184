#include "kernels/grid/feedback.h"

#include <cassert>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/feedback/row_panel.h"
#include "kernels/grid/grid_format.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// What an error counts in the fit of its column's group, by column.
std::vector<float> FitWeights(const FeedbackFactor& factor,
                              const FeedbackOptions& options) {
  std::vector<float> weights(static_cast<size_t>(factor.n), 1.0f);
  for (size_t i = 0; i < weights.size(); ++i) {
    const size_t column =
        factor.order.empty() ? i : static_cast<size_t>(factor.order[i]);
    if (options.weight_by_pivots) {
      weights[column] = factor.pivots[i];
    } else if (options.column_weights != nullptr) {
      weights[column] = options.column_weights[column];
    }
  }
  return weights;
}

}  // namespace

void Feedback(const float* targets, const FeedbackFactor& factor,
              const FeedbackOptions& options, GridRows* rows,
              ThreadPool* pool) {
  assert(factor.n == rows->n_cols);
  FeedProblem problem;
  problem.targets = targets;
  problem.n_rows = rows->n_rows;
  problem.m = factor.m;
  problem.order = factor.order;
  std::vector<float> weights;
  std::vector<float> prices;
  const GridFormat format(options.fit, rows);
  if (options.fit_on_entry) {
    weights = FitWeights(factor, options);
    problem.fit_weights = weights.data();
    // A group of the whole row is improved by descent as well.
    if (options.block_rounds > 0 && factor.order.empty() &&
        format.n_blocks() > 1) {
      prices =
          BlockPrices(factor.m, factor.pivots, factor.n, format.block(), pool);
      problem.block_rounds = options.block_rounds;
      problem.refit = options.block_refit;
      problem.sweep = options.block_sweep;
      problem.block_metric = prices.data();
    }
  }
  Feed(format, problem, pool);
}

DescentResult Descend(const float* targets, const float* gram,
                      const DescendOptions& options, GridRows* rows,
                      ThreadPool* pool) {
  DescentResult result;
  for (const DescentError& row : Descend(GridFormat({}, rows), targets,
                                         rows->n_rows, gram, options, pool)) {
    result.error_before += row.before.gram;
    result.error_after += row.after.gram;
  }
  return result;
}

double GramError(const float* targets, const float* quantized, int64_t n_rows,
                 int64_t n_cols, const float* gram, ThreadPool* pool) {
  std::vector<double> errors(static_cast<size_t>(n_rows));
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(
      n_rows, PanelWidth(n_rows, n_threads), pool, [&](const RowPanel& panel) {
        const int64_t lanes = panel.n_lanes;
        std::vector<float> difference(static_cast<size_t>(n_cols * lanes));
        std::vector<float> products(difference.size());
        panel.Gather(targets, n_cols, 0, n_cols, difference.data());
        panel.Gather(quantized, n_cols, 0, n_cols, products.data());
        for (size_t i = 0; i < difference.size(); ++i) {
          difference[i] -= products[i];
        }
        Gemm(/*pool=*/nullptr, Update::kSet, n_cols, lanes, n_cols, gram,
             n_cols, difference.data(), lanes, products.data(), lanes);
        for (int64_t lane = 0; lane < panel.n_rows; ++lane) {
          double& sum = errors[static_cast<size_t>(panel.first_row + lane)];
          for (int64_t j = 0; j < n_cols; ++j) {
            const size_t at = static_cast<size_t>(j * lanes + lane);
            sum += static_cast<double>(difference[at]) *
                   static_cast<double>(products[at]);
          }
        }
      });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

}  // namespace narrow
