// Plain code that the SIMD encoders call where lanes do not pay, as functions
// that are not inline.

#ifndef NARROW_KERNELS_QUANT_IQ1_PLAIN_CALLS_H_
#define NARROW_KERNELS_QUANT_IQ1_PLAIN_CALLS_H_

#include <cstdint>

#include "kernels/quant/iq1/groups.h"

namespace narrow {
namespace iq1 {

// A whole block; for one with numbers that are not finite.
void EncodePlainly(IQ1_S, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(IQ1_M, const float* x, const float* importance,
                   uint8_t* bytes);

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_PLAIN_CALLS_H_
