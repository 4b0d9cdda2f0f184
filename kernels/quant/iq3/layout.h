// What IQ3_XXS and IQ3_S share and where they differ, as constants.
//
// A super-block holds 256 weights in 8 groups of 32. A group has a scale of 4
// bits, and each 4 weights of it are a point of a grid: 4 levels of 0 … 7,
// standing for magnitudes. Signs are stored apart. With d in half precision,
//
//   IQ3_XXS   weight = d * (2 * scale + 1) / 4 * (+-magnitude)
//   IQ3_S     weight = d * (2 * scale + 1) * (+-magnitude)
//
// An encoder thinks of level l as 2 * l + 1, whatever its magnitude.
//
// The SIMD sources include this file.

#ifndef NARROW_KERNELS_QUANT_IQ3_LAYOUT_H_
#define NARROW_KERNELS_QUANT_IQ3_LAYOUT_H_

#include <cstdint>

namespace narrow {
namespace iq3 {

inline constexpr int kSuperBlock = 256;
inline constexpr int kGroup = 32;
inline constexpr int kGroups = kSuperBlock / kGroup;
inline constexpr int kPoint = 4;                         // weights a point
inline constexpr int kPointsPerGroup = kGroup / kPoint;  // 8
inline constexpr int kPoints = kSuperBlock / kPoint;     // 64
inline constexpr int kLevels = 8;
inline constexpr int kScaleHigh = 15;
// What the highest level and the highest scale count for.
inline constexpr int kTopLevel = 2 * kLevels - 1;
inline constexpr int kTopScale = 2 * kScaleHigh + 1;

// Candidate inverse scales put kTopLevel + kStep * k level steps into the
// largest magnitude, k = -kScan … kScan.
inline constexpr float kStep = 0.2f;

struct IQ3_XXS {
  static constexpr int kBytes = 98;
  static constexpr int kHalfAt = 0;
  static constexpr int kGridPoints = 256;
  static constexpr uint8_t kMagnitudes[kLevels] = {4,  12, 20, 28,
                                                   36, 44, 52, 62};
  // The number of minus signs among 8 weights is even.
  static constexpr bool kEvenSigns = true;
  static constexpr int kScan = 15;
  // Groups whose largest magnitude is below this are zero.
  static constexpr float kZeroLimit = 1e-8f;
  // What the stored d exceeds the scan's by; ggml's makers tuned it.
  static constexpr float kStretch = 1.0125f;
  // After the scan, levels are chosen anew under the scale found: for points
  // whose nearest levels are not in the grid, or, if there is one such point,
  // for all. Unless the scan found nothing, when all count as in the grid, or
  // as not.
  static constexpr bool kRefineAll = false;
  static constexpr bool kClosesGaps = false;
};

struct IQ3_S {
  static constexpr int kBytes = 110;
  static constexpr int kHalfAt = 0;
  static constexpr int kGridPoints = 512;
  static constexpr uint8_t kMagnitudes[kLevels] = {1, 3, 5, 7, 9, 11, 13, 15};
  static constexpr bool kEvenSigns = false;
  static constexpr int kScan = 9;
  static constexpr float kZeroLimit = 0;  // not used: just 0 is
  static constexpr float kStretch = 1.033f;
  static constexpr bool kRefineAll = true;
  // ggml leaves no room for the points' low bytes and the signs of a group of
  // zeros: those of the later groups move up, while the points' high bits stay
  // where they belong. Its files are like that. And where all scales come out
  // zero, it keeps the points and signs that it found.
  static constexpr bool kClosesGaps = true;
};

// A super-block's fields, unpacked.
struct Fields {
  uint16_t half;               // d
  uint8_t scales[kGroups];     // 0 … 15
  uint8_t signs[kGroups * 4];  // bit i of byte k: weight 8 * k + i is negative
  uint16_t points[kPoints];
};

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_LAYOUT_H_
