// Block sizes of TQ1_0, TQ2_0, Q1_0 and Q2_0, and the plain encoders of one
// block, which the SIMD encoders call for weights that are not finite and for
// scales without a reciprocal. Not inline, and included by the SIMD sources.

#ifndef NARROW_KERNELS_QUANT_TERNARY_TERNARY_BLOCKS_H_
#define NARROW_KERNELS_QUANT_TERNARY_TERNARY_BLOCKS_H_

#include <cstdint>

namespace narrow {
namespace ternary {

inline constexpr int kTq1Block = 256;
inline constexpr int kTq1Bytes = 54;
inline constexpr int kTq2Block = 256;
inline constexpr int kTq2Bytes = 66;
inline constexpr int kSignBlock = 128;
inline constexpr int kSignBytes = 18;
inline constexpr int kTwoBitBlock = 64;
inline constexpr int kTwoBitBytes = 18;

void EncodeTq1Block(const float* weights, uint8_t* bytes);
void EncodeTq2Block(const float* weights, uint8_t* bytes);
void EncodeTwoBitBlock(const float* weights, uint8_t* bytes);

}  // namespace ternary
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TERNARY_TERNARY_BLOCKS_H_
