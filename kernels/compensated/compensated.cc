#include "kernels/compensated/compensated.h"

#include <cassert>

#include "kernels/compensated/block_format.h"

namespace narrow {
namespace {

FeedProblem ProblemOf(const float* targets, int64_t n_rows,
                      const FeedFactor& factor) {
  FeedProblem problem;
  problem.targets = targets;
  problem.n_rows = n_rows;
  problem.m = factor.m.data();
  problem.order = factor.order;
  problem.unit = factor.unit;
  problem.metric = factor.metric.data();
  return problem;
}

}  // namespace

bool SupportsCompensation(const BlockCodec& codec) {
  // A plain number has nothing to fit, and no neighbours that share it.
  return codec.block > 1;
}

void FeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
              const FeedFactor& factor, const FeedOptions& options,
              uint8_t* bytes, ThreadPool* pool) {
  assert(factor.unit == codec.unit && factor.order.empty());
  FeedProblem problem = ProblemOf(targets, n_rows, factor);
  problem.fit_weights = factor.pivots.data();
  problem.block_rounds = options.block_rounds;
  problem.refit = options.refit;
  problem.sweep = options.sweep;
  problem.block_metric = factor.block_metric.data();
  Feed(BlockFormat(codec, factor.n, nullptr, bytes), problem, pool);
}

void RefeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
                const FeedFactor& factor, uint8_t* bytes, ThreadPool* pool) {
  assert(factor.unit == codec.unit);
  Feed(BlockFormat(codec, factor.n, bytes, bytes),
       ProblemOf(targets, n_rows, factor), pool);
}

void DescendRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
                 int64_t n_cols, const float* gram,
                 const DescendOptions& options, uint8_t* bytes,
                 ThreadPool* pool) {
  Descend(BlockFormat(codec, n_cols, bytes, bytes), targets, n_rows, gram,
          options, pool);
}

std::vector<RowError> MeasureRows(const BlockCodec& codec, const float* targets,
                                  int64_t n_rows, int64_t n_cols,
                                  const float* gram, const uint8_t* bytes,
                                  ThreadPool* pool) {
  return MeasureErrors(BlockFormat(codec, n_cols, bytes, nullptr), targets,
                       n_rows, gram, pool);
}

}  // namespace narrow
