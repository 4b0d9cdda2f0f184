// Fits, feedback and descent on a matrix of 512 x 512, by one thread.
//
// Items are weights a second; of feedback and descent multiply with the
// columns (feedback half of them, descent three rounds of all and two
// gradients) for multiply-adds.

#include <cmath>
#include <cstdint>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/grid/feedback.h"
#include "kernels/grid/grid.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 512;
constexpr int64_t kCols = 512;

std::vector<float> Waves(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = static_cast<float>(i);
    values[i] = std::sin(x * 0.7f) + 0.5f * std::cos(x * x * 0.013f);
  }
  return values;
}

GridSpec Spec(const benchmark::State& state) {
  GridSpec spec;
  spec.zero = state.range(0) != 0 ? ZeroKind::kInteger : ZeroKind::kNone;
  return spec;
}

void CountWeights(benchmark::State* state) {
  state->SetItemsProcessed(state->iterations() * kRows * kCols);
}

void BM_Fit(benchmark::State& state) {
  const std::vector<float> weights = Waves(kRows * kCols);
  GridRows rows(Spec(state), kRows, kCols);
  FitOptions options;
  options.search = static_cast<FitOptions::Search>(state.range(1));
  for (auto _ : state) {
    FitGroups(weights.data(), kCols, nullptr, options, &rows, nullptr);
  }
  CountWeights(&state);
}
BENCHMARK(BM_Fit)->ArgsProduct({{0, 1}, {0, 1, 2}});

// A factor and a Gram matrix of neighbours that resemble each other.
std::vector<float> Neighbours(bool upper) {
  std::vector<float> m(kCols * kCols, 0.0f);
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = upper ? i : 0; j < kCols; ++j) {
      m[static_cast<size_t>(i * kCols + j)] =
          std::pow(0.9f, static_cast<float>(std::abs(i - j)));
    }
  }
  return m;
}

void BM_Feedback(benchmark::State& state) {
  const std::vector<float> weights = Waves(kRows * kCols);
  const std::vector<float> m = Neighbours(true);
  const std::vector<float> pivots(kCols, 1.0f);
  FeedbackFactor factor;
  factor.n = kCols;
  factor.m = m.data();
  factor.pivots = pivots.data();
  FeedbackOptions options;
  options.fit_on_entry = false;
  GridRows rows(Spec(state), kRows, kCols);
  FitGroups(weights.data(), kCols, nullptr, {}, &rows, nullptr);
  for (auto _ : state) {
    Feedback(weights.data(), factor, options, &rows, nullptr);
  }
  CountWeights(&state);
}
BENCHMARK(BM_Feedback)->Arg(0)->Arg(1);

void BM_Descend(benchmark::State& state) {
  const std::vector<float> weights = Waves(kRows * kCols);
  const std::vector<float> gram = Neighbours(false);
  GridRows start(Spec(state), kRows, kCols);
  FitGroups(weights.data(), kCols, nullptr, {}, &start, nullptr);
  RoundRows(weights.data(), kCols, &start, nullptr);
  for (auto _ : state) {
    GridRows rows = start;
    Descend(weights.data(), gram.data(), {}, &rows, nullptr);
  }
  CountWeights(&state);
}
BENCHMARK(BM_Descend)->Arg(0)->Arg(1);

}  // namespace
}  // namespace narrow
