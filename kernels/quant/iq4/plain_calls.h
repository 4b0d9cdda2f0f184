// The plain encoders of one block, which the SIMD encoders call for weights
// that are not finite. Not inline, and included by the SIMD sources.

#ifndef NARROW_KERNELS_QUANT_IQ4_PLAIN_CALLS_H_
#define NARROW_KERNELS_QUANT_IQ4_PLAIN_CALLS_H_

#include <cstdint>

namespace narrow {
namespace iq4 {

// `importance` may be nullptr.
void EncodeNlBlock(const float* weights, const float* importance,
                   uint8_t* bytes);
void EncodeXsBlock(const float* weights, const float* importance,
                   uint8_t* bytes);

}  // namespace iq4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ4_PLAIN_CALLS_H_
