// Where the fields of a super-block lie in its bytes, for each type, and what
// its points stand for; the diagrams are in iq3_xxs.cc and iq3_s.cc. Included
// by the SIMD sources too, as functions that are not inline.

#ifndef NARROW_KERNELS_QUANT_IQ3_FIELDS_H_
#define NARROW_KERNELS_QUANT_IQ3_FIELDS_H_

#include <cstdint>

#include "kernels/quant/iq3/layout.h"

namespace narrow {
namespace iq3 {

void PackFields(IQ3_XXS, const Fields& fields, uint8_t* bytes);
void PackFields(IQ3_S, const Fields& fields, uint8_t* bytes);
void UnpackFields(IQ3_XXS, const uint8_t* bytes, Fields* fields);
void UnpackFields(IQ3_S, const uint8_t* bytes, Fields* fields);

// The four magnitudes of each point of the type's grid, a byte each.
const uint32_t* PointMagnitudes(IQ3_XXS);
const uint32_t* PointMagnitudes(IQ3_S);

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_FIELDS_H_
