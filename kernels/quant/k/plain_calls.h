// Plain code that the SIMD encoders call where lanes do not pay, as functions
// that are not inline. Included by the SIMD sources.

#ifndef NARROW_KERNELS_QUANT_K_PLAIN_CALLS_H_
#define NARROW_KERNELS_QUANT_K_PLAIN_CALLS_H_

#include <cstdint>

#include "kernels/quant/k/super_block.h"

namespace narrow {
namespace k_quants {

// A whole super-block; for one with numbers that are not finite.
void EncodePlainly(Q2_K, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Q3_K, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Q4_K, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Q5_K, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Q6_K, const float* x, const float* importance,
                   uint8_t* bytes);

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_PLAIN_CALLS_H_
