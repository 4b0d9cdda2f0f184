// Cosines and sines of rotary position embeddings.
//
//   ASSIGN_OR_RETURN(RopeTable t, MakeRopeTable(config, /*local=*/false, 512));
//   rows.rotate_halves(t.cosines_at(p), t.sines_at(p), t.n_pairs, x);
//
// The angle of pair i at position p is p * theta^(-2i / rope_dim), stretched
// as the configuration says: divided by one factor (linear), by a divisor a
// frequency (llama3, longrope), or blended between stretched and not (yarn;
// Peng et al., "YaRN: Efficient Context Window Extension of Large Language
// Models", section 3.2), or of a base that grows with the sequence beyond the
// original context (dynamic; the same, appendix A.1). Longrope has two sets of
// divisors; the long one is for sequences beyond the original context, and
// n_tokens decides, as in transformers (llama.cpp decides by the context it
// was given, and knows nothing of dynamic). Angles are computed in double.

#ifndef NARROW_CALIBRATION_ROPE_TABLE_H_
#define NARROW_CALIBRATION_ROPE_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/model_config.h"

namespace narrow {

struct RopeTable {
  int64_t n_tokens = 0;
  int64_t n_pairs = 0;
  std::vector<float> cosines;  // [n_tokens, n_pairs]
  std::vector<float> sines;

  const float* cosines_at(int64_t position) const {
    return cosines.data() + position * n_pairs;
  }
  const float* sines_at(int64_t position) const {
    return sines.data() + position * n_pairs;
  }
};

// `local`: for sliding-window layers, which have no stretching where the
// configuration gives them a base of their own. InvalidArgument if the
// configuration's lists of divisors are not of rope_dim / 2 positive numbers.
absl::StatusOr<RopeTable> MakeRopeTable(const ModelConfig& config, bool local,
                                        int64_t n_tokens);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_ROPE_TABLE_H_
