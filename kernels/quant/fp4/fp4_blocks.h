// Block sizes of MXFP4 and NVFP4, and their plain encoders of one block or
// sub-block, which the SIMD encoders call where a scale cannot hold the
// weights. Not inline, and included by the SIMD sources.

#ifndef NARROW_KERNELS_QUANT_FP4_FP4_BLOCKS_H_
#define NARROW_KERNELS_QUANT_FP4_FP4_BLOCKS_H_

#include <cstdint>

namespace narrow {
namespace fp4 {

inline constexpr int kMxBlock = 32;
inline constexpr int kMxBytes = 17;

inline constexpr int kNvBlock = 64;
inline constexpr int kNvBytes = 36;
inline constexpr int kNvSubBlock = 16;
inline constexpr int kNvSubBlocks = kNvBlock / kNvSubBlock;

void EncodeMxBlock(const float* weights, uint8_t* bytes);
// One sub-block's scale byte and its codes, 8 bytes.
void EncodeNvSubBlock(const float* weights, uint8_t* scale, uint8_t* codes);

}  // namespace fp4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_FP4_FP4_BLOCKS_H_
