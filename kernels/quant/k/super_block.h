// What the five k-quant types share and where they differ, as constants.
//
// A super-block holds 256 weights in sub-blocks of 16 or 32. Every sub-block
// has an integer scale (and, in the affine types, an integer minimum), and
// the super-block a half-precision unit for each:
//
//   affine      weight = (d * scale) * code - (dmin * min)    Q2_K Q4_K Q5_K
//   symmetric   weight = (d * scale) * code                   Q3_K Q6_K
//
// An encoder chooses a real scale (and minimum) for each sub-block by a
// search over a grid of candidate inverse scales, quantizes those numbers to
// the super-block's unit, and rounds the weights under what was stored.
//
// Only constants stand here: the SIMD sources include this file.

#ifndef NARROW_KERNELS_QUANT_K_SUPER_BLOCK_H_
#define NARROW_KERNELS_QUANT_K_SUPER_BLOCK_H_

namespace narrow {
namespace k_quants {

inline constexpr int kSuperBlock = 256;
inline constexpr int kMaxSubBlock = 32;

// Sub-blocks whose largest weight is below this are zero. (Same constant for
// the scales of a super-block.)
inline constexpr float kZeroLimit = 1e-15f;

// Candidate k of an affine search puts (first + step * k + the highest code)
// code steps between the smallest and the largest weight; k = 0 … last.
struct AffineGrid {
  float first;
  float step;
  int last;
};

// With importance, all affine types search this grid.
inline constexpr AffineGrid kImportanceGrid = {-0.9f, 0.05f, 36};

// Non-zero offsets k = -n … n, times 0.1, about the highest code.
inline constexpr int kSymmetricOffsets = 9;
inline constexpr int kUnitOffsets = 4;
inline constexpr float kOffsetStep = 0.1f;
// Passes of one-code-at-a-time improvement.
inline constexpr int kDescentPasses = 5;

// How weights count in the search when there is no importance.
enum class PlainWeight {
  kMagnitude,        // |x|
  kMagnitudeAndRms,  // |x| + root mean square of the sub-block
};

struct Q2_K {
  static constexpr int kBytes = 84;
  static constexpr int kSubBlock = 16;
  static constexpr int kCodeHigh = 3;
  static constexpr int kScaleHigh = 15;
  static constexpr AffineGrid kPlainGrid = {-0.5f, 0.1f, 15};
  static constexpr PlainWeight kPlainWeight = PlainWeight::kMagnitude;
  static constexpr bool kPlainAbsoluteError = true;
  // Whether ggml bounds the quantized sub-scales, which matters when a
  // search ended with a negative scale: without and with importance.
  static constexpr bool kBoundPlainScales = false;
  static constexpr bool kBoundImportanceScales = false;
  // The variance in the importance weights is this times the mean square.
  static constexpr float kVarianceFactor = 1;
};

struct Q4_K {
  static constexpr int kBytes = 144;
  static constexpr int kSubBlock = 32;
  static constexpr int kCodeHigh = 15;
  static constexpr int kScaleHigh = 63;
  static constexpr AffineGrid kPlainGrid = {-1.0f, 0.1f, 20};
  static constexpr PlainWeight kPlainWeight = PlainWeight::kMagnitudeAndRms;
  static constexpr bool kPlainAbsoluteError = false;
  static constexpr bool kBoundPlainScales = true;
  static constexpr bool kBoundImportanceScales = false;
  static constexpr float kVarianceFactor = 2;
};

struct Q5_K {
  static constexpr int kBytes = 176;
  static constexpr int kSubBlock = 32;
  static constexpr int kCodeHigh = 31;
  static constexpr int kScaleHigh = 63;
  static constexpr AffineGrid kPlainGrid = {-0.5f, 0.1f, 15};
  static constexpr PlainWeight kPlainWeight = PlainWeight::kMagnitudeAndRms;
  static constexpr bool kPlainAbsoluteError = false;
  static constexpr bool kBoundPlainScales = true;
  static constexpr bool kBoundImportanceScales = true;
  static constexpr float kVarianceFactor = 2;
};

// Codes of the symmetric types are -kCodeHalf … kCodeHalf - 1.
struct Q3_K {
  static constexpr int kBytes = 110;
  static constexpr int kSubBlock = 16;
  static constexpr int kCodeHalf = 4;
  static constexpr int kScaleLow = -32;
  static constexpr int kScaleHigh = 31;
};

struct Q6_K {
  static constexpr int kBytes = 210;
  static constexpr int kSubBlock = 16;
  static constexpr int kCodeHalf = 32;
  static constexpr int kScaleLow = -128;
  static constexpr int kScaleHigh = 127;
};

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_SUPER_BLOCK_H_
