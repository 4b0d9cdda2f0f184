// The lists of a grid's index as the SIMD encoders read them: levels instead
// of points, so that a list needs no look-up in the grid, and without the
// points that cannot win.
//
// A unit's levels are one word here, two bits a coordinate.
//
// A point that lies, in every coordinate in which another one differs from
// it, farther from the levels sought, is farther away whatever the weights:
// weights x with level 0 are at most 2 scales, so 1 is nearer than 3 and 3
// than 5; those of level 1 lie between 2 and 4, and so on. Both the products
// and the sums of floats are monotonic, so ggml's distance is no less either,
// and as the nearer point comes first in the list, the other is never taken.
// Near 2 and 4 scales, rounding may turn that: the whole list is needed there.
//
// Made on first use; safe from any thread. For the sources of simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ2_NEAR_LISTS_H_
#define NARROW_KERNELS_QUANT_IQ2_NEAR_LISTS_H_

#include <cstdint>

#include "kernels/quant/iq2/block.h"

namespace narrow {
namespace iq2 {

// No list is longer; they begin at multiples of kListStep words, and as many
// may be read as fill the last step, of words that have level 3 everywhere.
inline constexpr int kMaxList = 320;
inline constexpr int kListStep = 16;

// An entry is a word of levels, or, negative as an int32, a list: its length
// in bits 0-9, its place in steps above these.
inline constexpr int kLengthBits = 10;

struct NearLists {
  // By the number of levels (Grid::numbers): points that may win, and all.
  const int32_t* entries;
  const int32_t* whole_entries;
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
