// Divisors of rotary frequencies that a checkpoint leaves to be computed.

#ifndef NARROW_FORMATS_ARCH_CONFIG_ROPE_FACTORS_H_
#define NARROW_FORMATS_ARCH_CONFIG_ROPE_FACTORS_H_

#include <cstdint>
#include <vector>

namespace narrow {

struct Llama3RopeInputs {
  double theta;
  int64_t dim;  // rotated dimensions, even
  double factor;
  double low_freq_factor;
  double high_freq_factor;
  double original_context;
};

// One divisor for each of dim / 2 frequencies, as llama.cpp's converter
// stores them in rope_freqs.weight: 1 for frequencies that turn often within
// the original context, `factor` for those that hardly turn, and a blend
// between.
std::vector<float> Llama3RopeFactors(const Llama3RopeInputs& inputs);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_CONFIG_ROPE_FACTORS_H_
