// What IQ1_S and IQ1_M share and where they differ, as constants.
//
// A block holds 256 weights in groups of 32 or 16 with an integer scale each.
// Eight neighbours are an octet: a point of a lattice of levels 0, 1, 2, which
// stand for -1, 0, 1, all of them moved by 1/8 up or down:
//
//   weight = d * (2 * scale + 1) * (level - 1 + shift),  shift = 1/8 or -1/8
//
// The shifts of a group are one number, its octets' directions: 1 is down.
// IQ1_S has one direction a group; IQ1_M one an octet, the first octet's
// being the higher bit.
//
// Only constants stand here: the SIMD sources include this file.

#ifndef NARROW_KERNELS_QUANT_IQ1_GROUPS_H_
#define NARROW_KERNELS_QUANT_IQ1_GROUPS_H_

#include <cstdint>

namespace narrow {
namespace iq1 {

inline constexpr int kBlock = 256;
inline constexpr int kOctet = 8;
inline constexpr int kOctets = kBlock / kOctet;
inline constexpr int kMaxGroup = 32;
inline constexpr int kMaxGroups = 16;
inline constexpr int kScaleHigh = 7;

// Values of the levels, shifted up and down, and the same in eighths. (Not
// inline variables: each instruction set has its own.)
constexpr float kUp[3] = {-0.875f, 0.125f, 1.125f};
constexpr float kDown[3] = {-1.125f, -0.125f, 0.875f};
constexpr int8_t kUpCodes[3] = {-7, 1, 9};
constexpr int8_t kDownCodes[3] = {-9, -1, 7};

struct IQ1_S {
  static constexpr int kBytes = 50;
  static constexpr int kGroup = 32;
  static constexpr int kShifts = 2;
  // Groups whose largest weight is below this are zero.
  static constexpr float kZeroLimit = 1e-12f;
  // ggml's factor on the scale that it finds.
  static constexpr float kFactor = 1.125f;
  [[gnu::always_inline]] static constexpr bool IsDown(int shift,
                                                      int /*octet*/) {
    return shift != 0;
  }
};

struct IQ1_M {
  static constexpr int kBytes = 56;
  static constexpr int kGroup = 16;
  static constexpr int kShifts = 4;
  static constexpr float kZeroLimit = 1e-7f;
  static constexpr float kFactor = 1.1125f;
  [[gnu::always_inline]] static constexpr bool IsDown(int shift, int octet) {
    return (shift >> (1 - octet) & 1) != 0;
  }
};

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_GROUPS_H_
