// From the paired scores of tokens to the figures of a comparison.
//
//   Comparison figures = MakeComparison(scores, seed);
//
// Every mean has three errors: over tokens (llama-perplexity's), over windows,
// and by resampling windows. Those of a ratio, difference or root are carried
// to first order; those of differences come from the tokens' differences,
// which is llama.cpp's propagation with the covariance.

#ifndef NARROW_VALIDATE_MEASURES_COMPARISON_H_
#define NARROW_VALIDATE_MEASURES_COMPARISON_H_

#include <cstdint>

#include "validate/measures/figures.h"
#include "validate/measures/paired_scores.h"

namespace narrow {

// REQUIRES: at least one token. The bootstrap follows from `seed`.
Comparison MakeComparison(const PairedScores& scores, uint64_t seed);

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_COMPARISON_H_
