// The parts of IQ4_NL and IQ4_XS in plain code; see iq4.h for the method.

#ifndef NARROW_KERNELS_QUANT_IQ4_REFERENCE_H_
#define NARROW_KERNELS_QUANT_IQ4_REFERENCE_H_

#include <cstdint>

#include "kernels/quant/iq4/iq4.h"

namespace narrow {
namespace iq4 {

// Twice the mean square of `n` weights.
float TwiceMeanSquare(const float* weights, int n);

// How 32 weights count in the search. `importance` may be nullptr.
void WeighBlock(const float* weights, const float* importance,
                float twice_mean_square, float* block_weights);

// The scale of 32 weights; 0 if they are all zero.
float SearchScale(const float* weights, const float* block_weights);

// Places in kCodes of 32 weights times `inverse`.
void PlaceCodes(const float* weights, float inverse, uint8_t* places);

// 1 / scale, or 0 of 0.
float Inverse(float scale);

// The code nearest to `target`, and what it is worth.
void RoundToCode(float target, float step, int8_t* code, float* value);

// 32 places in 16 bytes: place j in the low nibble of byte j, place j + 16
// in the high one.
void PackPlaces(const uint8_t* places, uint8_t* bytes);
void UnpackPlaces(const uint8_t* bytes, uint8_t* places);

// The place of one of kCodes.
uint8_t PlaceOf(int8_t code);

}  // namespace iq4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ4_REFERENCE_H_
