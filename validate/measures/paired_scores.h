// What a reference and a candidate say of the same tokens, one entry a scored
// token, and its sums window by window.
//
//   PairedScores scores;
//   scores.tokens.push_back(row.Compare(...));  // every token of a window
//   scores.window_sizes.push_back(255);
//   std::vector<WindowSums> sums = SumWindows(scores);
//
// Plain values, owned by one thread at a time.

#ifndef NARROW_VALIDATE_MEASURES_PAIRED_SCORES_H_
#define NARROW_VALIDATE_MEASURES_PAIRED_SCORES_H_

#include <cstdint>
#include <vector>

namespace narrow {

struct TokenComparison {
  // Minus the natural log of the right token's probability.
  double reference_nll = 0;
  double candidate_nll = 0;
  double divergence = 0;  // KL of the candidate from the reference, nats
  bool same_top = false;  // the lowest id of equally probable ones
};

struct PairedScores {
  std::vector<TokenComparison> tokens;
  std::vector<int64_t> window_sizes;  // they sum to tokens.size()

  // `more` after these.
  void Append(const PairedScores& more);
};

// Change of the probability of the right token, candidate's - reference's.
double DeltaP(const TokenComparison& token);

// Of one window, or of a sample of windows.
struct WindowSums {
  double n = 0;  // tokens
  double reference_nll = 0;
  double candidate_nll = 0;
  double divergence = 0;
  double delta_p = 0;
  double delta_p_squared = 0;
  double same_top = 0;

  WindowSums& operator+=(const WindowSums& other);
};

std::vector<WindowSums> SumWindows(const PairedScores& scores);

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_PAIRED_SCORES_H_
