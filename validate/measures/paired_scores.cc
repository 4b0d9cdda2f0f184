#include "validate/measures/paired_scores.h"

#include <cassert>
#include <cmath>

namespace narrow {

void PairedScores::Append(const PairedScores& more) {
  tokens.insert(tokens.end(), more.tokens.begin(), more.tokens.end());
  window_sizes.insert(window_sizes.end(), more.window_sizes.begin(),
                      more.window_sizes.end());
}

double DeltaP(const TokenComparison& token) {
  return std::exp(-token.candidate_nll) - std::exp(-token.reference_nll);
}

WindowSums& WindowSums::operator+=(const WindowSums& other) {
  n += other.n;
  reference_nll += other.reference_nll;
  candidate_nll += other.candidate_nll;
  divergence += other.divergence;
  delta_p += other.delta_p;
  delta_p_squared += other.delta_p_squared;
  same_top += other.same_top;
  return *this;
}

std::vector<WindowSums> SumWindows(const PairedScores& scores) {
  std::vector<WindowSums> windows;
  windows.reserve(scores.window_sizes.size());
  size_t i = 0;
  for (int64_t size : scores.window_sizes) {
    WindowSums sums;
    for (int64_t k = 0; k < size; ++k, ++i) {
      const TokenComparison& token = scores.tokens[i];
      const double delta_p = DeltaP(token);
      sums.n += 1;
      sums.reference_nll += token.reference_nll;
      sums.candidate_nll += token.candidate_nll;
      sums.divergence += token.divergence;
      sums.delta_p += delta_p;
      sums.delta_p_squared += delta_p * delta_p;
      sums.same_top += token.same_top ? 1 : 0;
    }
    windows.push_back(sums);
  }
  assert(i == scores.tokens.size());
  return windows;
}

}  // namespace narrow
