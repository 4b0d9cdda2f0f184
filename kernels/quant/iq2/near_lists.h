// The lists of a grid's index as the SIMD encoders read them: levels instead
// of points, so that a list needs no look-up in the grid.
//
// A unit's levels are one word here, two bits a coordinate.
//
// Made on first use; safe from any thread. For the sources of simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ2_NEAR_LISTS_H_
#define NARROW_KERNELS_QUANT_IQ2_NEAR_LISTS_H_

#include <cstdint>

#include "kernels/quant/iq2/block.h"

namespace narrow {
namespace iq2 {

// No list is longer; they begin at multiples of kListStep words, and that
// many may be read beyond the last one.
inline constexpr int kMaxList = 320;
inline constexpr int kListStep = 16;

// An entry is a word of levels, or, negative as an int32, a list: its length
// in bits 0-9, its place in steps above these.
inline constexpr int kLengthBits = 10;

struct NearLists {
  const int32_t* entries;   // by the number of levels (Grid::numbers)
  const uint16_t* words;    // of all lists
  const uint16_t* points;   // by the number of levels
  const uint8_t* numbers4;  // by eight bits of a word: the number of 4 levels
};

const NearLists& ListsOf(Iq2Xxs);
const NearLists& ListsOf(Iq2Xs);
const NearLists& ListsOf(Iq2S);

}  // namespace iq2
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_NEAR_LISTS_H_
