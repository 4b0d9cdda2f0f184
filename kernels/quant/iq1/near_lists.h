// The lists of Iq1Index() as an encoder in lanes reads them: the levels of
// the points themselves, so that many are tried at once, and mostly without
// the points that cannot win.
//
//   const NearLists& near = Iq1NearLists();
//   const NearLists::Entry entry = near.Find(packed_levels);
//   if (entry.n == 0) point = entry.first;
//   else if (the octet is orderly) try near.levels[entry.first … + entry.n)
//   else try near.levels[entry.first_whole … + entry.n_whole)
//
// An octet is orderly if in every coordinate no other level costs less than
// the one sought, and level 1 no more than the one beyond it. Then a point
// loses to any that lies between it and the levels sought: one whose level is,
// in each coordinate, that of the point, or the one sought, or 1 between 0 and
// 2. For that one's costs are no greater, nor is their sum, as additions of
// floats are monotonic, and being nearer it comes first. Four of five points
// are such.
//
// Made on first use, in about two milliseconds, lives as long as the program
// and is safe from any thread. For the sources of simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_
#define NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_

#include <cstdint>

namespace narrow {
namespace iq1 {

struct NearLists {
  struct Entry {
    int32_t first;
    int32_t first_whole;
    int16_t n;  // a multiple of kNearStep, or 0 if `first` is a point
    int16_t n_whole;
  };
  const Entry* entries;  // by the levels' number, base 3
  // Two bits a coordinate, the first lowest. Lists are filled up with copies
  // of their last point, which never win against it.
  const uint16_t* levels;
  // Of each point, as in lists.
  const int32_t* point_levels;
  // The number of four levels, by their eight bits.
  const uint8_t* half_numbers;

  [[gnu::always_inline]] Entry Find(int32_t packed) const {
    return entries[half_numbers[packed & 0xff] +
                   81 * half_numbers[packed >> 8]];
  }
};

inline constexpr int kNearStep = 16;

const NearLists& Iq1NearLists();

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_
