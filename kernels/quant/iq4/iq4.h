// What IQ4_NL and IQ4_XS share: a table of sixteen codes, denser about zero
// as weights are, and ggml's search for the scale of 32 weights under it.
//
// ggml tries sixteen scales: one that gives the largest magnitude the code
// -127, and fifteen whose inverses give it -134 … -120. For each it rounds
// the weights and takes the least-squares scale for those codes; the best of
// these counts. A weight in the middle of two codes goes to the upper one.
// The weights of the squares are column importance times
// sqrt(twice the mean square + weight²), or weight² without importance.
//
// The mean square is a block's in IQ4_NL and a super-block's in IQ4_XS. Sums
// are in float and in order, so they are part of the bytes.

#ifndef NARROW_KERNELS_QUANT_IQ4_IQ4_H_
#define NARROW_KERNELS_QUANT_IQ4_IQ4_H_

#include <cstdint>

namespace narrow {
namespace iq4 {

inline constexpr int kSize = 32;
// (Not inline: each instruction set has its own copies.)
constexpr int8_t kCodes[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
// The middles between them.
constexpr float kMiddles[15] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f,
                                -28.5f,  -16.0f, -4.5f,  7.0f,   19.0f,
                                31.5f,   45.5f,  61.0f,  79.0f,  101.0f};
// Candidates k = -kTries … kTries give the largest magnitude code -127 + k.
inline constexpr int kTries = 7;
// A block whose magnitudes are all below this is zero.
inline constexpr float kZeroLimit = 1e-15f;

// IQ4_NL's block, and IQ4_XS's super-block.
inline constexpr int kNlBytes = 18;
inline constexpr int kSuperBlock = 256;
inline constexpr int kSubBlocks = kSuperBlock / kSize;
inline constexpr int kXsBytes = 136;
inline constexpr int kHighScale = 31;
inline constexpr int kLowScale = -32;

}  // namespace iq4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ4_IQ4_H_
