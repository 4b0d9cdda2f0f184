// ggml's encoders of the two types in plain code: what every variant must
// equal. Functions that are not inline, called by the SIMD sources for blocks
// with unusual numbers.

#ifndef NARROW_KERNELS_QUANT_IQ3_REFERENCE_H_
#define NARROW_KERNELS_QUANT_IQ3_REFERENCE_H_

#include <cstdint>

#include "kernels/quant/iq3/layout.h"

namespace narrow {
namespace iq3 {

// Points, signs, stored scales and d (which is returned, not yet halved) for
// one super-block. `importance` may be nullptr.
float FitFields(IQ3_XXS, const float* weights, const float* importance,
                Fields* fields);
float FitFields(IQ3_S, const float* weights, const float* importance,
                Fields* fields);

// The same to bytes.
void EncodeBlock(IQ3_XXS, const float* weights, const float* importance,
                 uint8_t* bytes);
void EncodeBlock(IQ3_S, const float* weights, const float* importance,
                 uint8_t* bytes);

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_REFERENCE_H_
