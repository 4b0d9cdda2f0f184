// The lists of Iq1Index() as an encoder in lanes reads them: the levels of
// the points themselves, so that many are tried at once.
//
//   const NearLists& near = Iq1NearLists();
//   const NearLists::Entry entry = near.entries[number];
//   if (entry.n == 0) point = entry.first;
//   else try near.levels[entry.first … entry.first + entry.n)
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
    int32_t n;  // a multiple of kNearStep, or 0
  };
  const Entry* entries;  // by the number of the levels, base 3
  // Two bits a coordinate, the first lowest. A list is filled up with copies
  // of its last point, which never win against it.
  const uint16_t* levels;
  // The points with these levels.
  const uint16_t* points;
  // Of each point, two bits a coordinate; 32 bits each to be gathered.
  const int32_t* point_levels;
};

inline constexpr int kNearStep = 16;

const NearLists& Iq1NearLists();

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_NEAR_LISTS_H_
