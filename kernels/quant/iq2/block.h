// The blocks of IQ2_XXS, IQ2_XS and IQ2_S: what they share, where they
// differ, and their bytes. Little-endian, frozen.
//
// 256 weights in units of 8. A unit is a point of the type's grid, which
// gives each weight a magnitude of 8, 25 or 43, and eight signs; a group of
// units shares a scale of four bits:
//
//   weight = d * (0.5 + scale) / 4 * magnitude * sign
//
//   IQ2_XXS, 66 bytes, groups of 32, signs of even parity
//     0        2
//     | d f16  | 8 groups of 8 bytes: points of units 0-3 (a byte each), then
//              | a word: signs 0-6 of units 0-3 (bits 0-27), scale (28-31)
//   IQ2_XS, 74 bytes, groups of 16, signs of even parity
//     0        2                                       66
//     | d f16  | 32 halves: point (bits 0-8), signs    | 8 bytes: scales of
//              | 0-6 (bits 9-15)                       | two groups, low first
//   IQ2_S, 82 bytes, groups of 16, free signs
//     0        2                   34        66                     74
//     | d f16  | 32 points, low 8  | 32      | 8 bytes: high 2 bits | scales,
//              | bits              | signs   | of points, four each | as above
//
// Signs: bit i is set where weight i is negative. Where seven are stored, the
// eighth makes the number of negative ones even.
//
// The sources of simd_library include this file.

#ifndef NARROW_KERNELS_QUANT_IQ2_BLOCK_H_
#define NARROW_KERNELS_QUANT_IQ2_BLOCK_H_

#include <cstdint>

namespace narrow {
namespace iq2 {

inline constexpr int kSuperBlock = 256;
inline constexpr int kUnit = 8;
inline constexpr int kUnits = kSuperBlock / kUnit;
inline constexpr int kLevels = 3;
inline constexpr int kMagnitudes[kLevels] = {8, 25, 43};
inline constexpr int kMaxGroups = 16;
inline constexpr int kScaleHigh = 15;

// A block as numbers.
struct StoredBlock {
  uint16_t d;                  // half precision
  uint8_t scales[kMaxGroups];  // by group
  uint16_t points[kUnits];
  uint8_t signs[kUnits];  // all eight
};

// Where encoders differ. Candidates for a group's scale are 1 / ((5 +
// 0.1 * k) / top), k = -kSteps … kSteps.
struct Iq2Xxs {
  static constexpr int kBytes = 66;
  static constexpr int kGroup = 32;
  static constexpr bool kEvenSigns = true;
  static constexpr int kSteps = 6;
  // The top comes of a search for codes 0 … 4 (ggml's make_qp_quants), and
  // the final pass rounds every unit, not just those off the grid.
  static constexpr bool kSearchesTop = true;
  static constexpr float kVarianceFactor = 1;
  static constexpr float kZeroLimit = 1e-15f;
  static constexpr float kScaleShare = 1;
  static constexpr bool kRequiresImportance = true;
};

struct Iq2Xs {
  static constexpr int kBytes = 74;
  static constexpr int kGroup = 16;
  static constexpr bool kEvenSigns = true;
  static constexpr int kSteps = 9;
  static constexpr bool kSearchesTop = false;  // the largest weight
  static constexpr float kVarianceFactor = 1;
  static constexpr float kZeroLimit = 1e-15f;
  static constexpr float kScaleShare = 1;
  static constexpr bool kRequiresImportance = true;
};

struct Iq2S {
  static constexpr int kBytes = 82;
  static constexpr int kGroup = 16;
  static constexpr bool kEvenSigns = false;
  static constexpr int kSteps = 9;
  static constexpr bool kSearchesTop = false;
  static constexpr float kVarianceFactor = 2;
  static constexpr float kZeroLimit = 1e-8f;
  // What of the unit that was searched for is stored.
  static constexpr float kScaleShare = 0.9875f;
  static constexpr bool kRequiresImportance = false;
};

// To and from bytes. Not inline, for the sources of simd_library.
void StoreBlock(Iq2Xxs, const StoredBlock& block, uint8_t* bytes);
void StoreBlock(Iq2Xs, const StoredBlock& block, uint8_t* bytes);
void StoreBlock(Iq2S, const StoredBlock& block, uint8_t* bytes);
StoredBlock LoadBlock(Iq2Xxs, const uint8_t* bytes);
StoredBlock LoadBlock(Iq2Xs, const uint8_t* bytes);
StoredBlock LoadBlock(Iq2S, const uint8_t* bytes);

// The plain encoder of one block, for those with numbers that are not finite
// or far from the usual.
void EncodePlainly(Iq2Xxs, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Iq2Xs, const float* x, const float* importance,
                   uint8_t* bytes);
void EncodePlainly(Iq2S, const float* x, const float* importance,
                   uint8_t* bytes);

}  // namespace iq2
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_BLOCK_H_
