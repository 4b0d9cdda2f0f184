// The scales of a super-block in its bytes: half-precision units and integer
// scales (and minima) of the sub-blocks. Little-endian, frozen.
//
//   Q2_K   0  scale | min << 4, a byte each of 16
//         80  d     82  dmin
//   Q3_K  96  16 scales of six bits, stored + 32:
//             bytes 0-7 scale j low four bits | scale j + 8 low four << 4,
//             byte 8 + i the high two bits of scales i, i+4, i+8, i+12
//        108  d
//   Q4_K   0  d      2  dmin
//   Q5_K   4  8 scales s and minima m of six bits: for j = 0 … 3
//             byte j      s[j] | high two of s[j+4] << 6
//             byte j + 4  m[j] | high two of m[j+4] << 6
//             byte j + 8  low four of s[j+4] | low four of m[j+4] << 4
//   Q6_K 192  16 signed scales, a byte each
//        208  d
//
// These functions are not inline, so that the SIMD sources may call them.

#ifndef NARROW_KERNELS_QUANT_K_SUB_SCALES_H_
#define NARROW_KERNELS_QUANT_K_SUB_SCALES_H_

#include <cstdint>

#include "kernels/quant/k/super_block.h"

namespace narrow {
namespace k_quants {

// Half precision may not hold the units before they are packed; integers may
// exceed their field, as ggml's do when a search ended with a negative scale:
// their surplus bits then spill as ggml's do.
struct SubScales {
  float d;
  float dmin;
  int scales[16];
  int mins[16];
};

void PackScales(Q2_K, const SubScales& scales, uint8_t* bytes);
void PackScales(Q3_K, const SubScales& scales, uint8_t* bytes);
void PackScales(Q4_K, const SubScales& scales, uint8_t* bytes);
void PackScales(Q5_K, const SubScales& scales, uint8_t* bytes);
void PackScales(Q6_K, const SubScales& scales, uint8_t* bytes);

// What a reader of the block gets.
void UnpackScales(Q2_K, const uint8_t* bytes, SubScales* scales);
void UnpackScales(Q3_K, const uint8_t* bytes, SubScales* scales);
void UnpackScales(Q4_K, const uint8_t* bytes, SubScales* scales);
void UnpackScales(Q5_K, const uint8_t* bytes, SubScales* scales);
void UnpackScales(Q6_K, const uint8_t* bytes, SubScales* scales);

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_SUB_SCALES_H_
