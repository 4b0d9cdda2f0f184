#include "formats/arch/config/rope_factors.h"

#include <cmath>

namespace narrow {

// The converter computes with float32 tensors and double scalars, where a
// scalar divided by a tensor is the scalar times the tensor's reciprocal. The
// steps below round in the same places, for the bytes to be equal.
//
// Its powers may differ from the correctly rounded ones used here in the last
// bit, for about one frequency in a hundred and none at the bases and head
// sizes of Llama 3.1 and 3.2.
std::vector<float> Llama3RopeFactors(const Llama3RopeInputs& inputs) {
  const double low_wavelength =
      inputs.original_context / inputs.low_freq_factor;
  const double high_wavelength =
      inputs.original_context / inputs.high_freq_factor;
  const float two_pi = static_cast<float>(2 * 3.14159265358979323846);
  const float context = static_cast<float>(inputs.original_context);
  const float low = static_cast<float>(inputs.low_freq_factor);
  const float span =
      static_cast<float>(inputs.high_freq_factor - inputs.low_freq_factor);
  const float factor = static_cast<float>(inputs.factor);
  const double base = static_cast<float>(inputs.theta);

  std::vector<float> factors;
  factors.reserve(static_cast<size_t>(inputs.dim / 2));
  for (int64_t i = 0; i < inputs.dim; i += 2) {
    const float exponent =
        static_cast<float>(i) / static_cast<float>(inputs.dim);
    const float frequency =
        1.0f / static_cast<float>(std::pow(base, double{exponent}));
    const float wavelength = (1.0f / frequency) * two_pi;
    if (wavelength < static_cast<float>(high_wavelength)) {
      factors.push_back(1.0f);
    } else if (wavelength > static_cast<float>(low_wavelength)) {
      factors.push_back(factor);
    } else {
      const float turns = (1.0f / wavelength) * context;
      const float smooth = (turns - low) / span;
      factors.push_back(1.0f / ((1.0f - smooth) / factor + smooth));
    }
  }
  return factors;
}

}  // namespace narrow
