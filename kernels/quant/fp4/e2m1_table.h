// E2M1's numbers, doubled, by nibble (e2m1.h): included by the SIMD sources,
// each of which has its own copy.

#ifndef NARROW_KERNELS_QUANT_FP4_E2M1_TABLE_H_
#define NARROW_KERNELS_QUANT_FP4_E2M1_TABLE_H_

#include <cstdint>

namespace narrow {
namespace fp4 {

constexpr int8_t kCodeOfNibble[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                      0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace fp4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_FP4_E2M1_TABLE_H_
