// The lists of Iq1Index() as an encoder in lanes reads them: the levels of
// the points themselves, so that many are tried at once.
//
//   const NearLists& near = Iq1NearLists();
//   const NearLists::Entry entry = near.Find(packed_levels);
//   if (entry.n == 0) point = entry.first;
//   else try near.levels[entry.first … entry.first + entry.n), then
//            near.levels[entry.first_far … entry.first_far + entry.n_far)
//
// Far are points whose levels differ by one in three coordinates, and which
// are two thirds of most lists: where they cannot win they are not even read.
//
// Made on first use, in about a millisecond, lives as long as the program and
// is safe from any thread. For the sources of simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_
#define NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_

#include <cstdint>

namespace narrow {
namespace iq1 {

struct NearLists {
  struct Entry {
    int32_t first;
    int32_t first_far;
    int16_t n;      // a multiple of kNearStep, or 0 if `first` is a point
    int16_t n_far;  // another
  };
  const Entry* entries;  // by the levels' number, base 3
  // Two bits a coordinate, the first lowest. Either part of a list is filled
  // up with copies of its last point, which never win against it.
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
