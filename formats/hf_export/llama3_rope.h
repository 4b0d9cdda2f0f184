// The parameters of Llama 3's rotary scaling, found again from the divisors
// that a GGUF file stores instead of them (rope_freqs.weight).
//
//   auto found = FindLlama3Rope(factors, theta, dim);
//   if (!found) ...  // no rope_type "llama3" gives these divisors

#ifndef NARROW_FORMATS_HF_EXPORT_LLAMA3_ROPE_H_
#define NARROW_FORMATS_HF_EXPORT_LLAMA3_ROPE_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "formats/arch/config/rope_factors.h"

namespace narrow {

// Parameters whose divisors equal `factors` up to a few units in the last
// place; nullopt if there are none. Divisors depend on original_context /
// low_freq_factor and high_freq_factor / low_freq_factor alone, so low is 1,
// as all published models have it. REQUIRES: factors.size() == dim / 2.
std::optional<Llama3RopeInputs> FindLlama3Rope(absl::Span<const float> factors,
                                               double theta, int64_t dim);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_EXPORT_LLAMA3_ROPE_H_
