// From levels to the points of a grid: the point itself, or those near it.
//
//   const GridIndex& index = Iq2XsIndex();
//   const int32_t entry = index.entries[number];
//   if (entry >= 0) point = entry;
//   else list = index.lists + ~entry;   // list[0] points follow
//
// A list holds the points in the nearest few shells around the levels: all
// those at one of the `n_shells` least distances, by (distance, point). The
// distance is the sum of squared differences of levels. Encoders that choose
// from such lists as ggml does find the same point, ties included.
//
// Each index is made on first use, in up to five milliseconds, lives as long as
// the program and is safe from any thread. For the sources of simd_library
// too.

#ifndef NARROW_KERNELS_QUANT_LATTICE_GRID_INDEX_H_
#define NARROW_KERNELS_QUANT_LATTICE_GRID_INDEX_H_

#include <cstdint>

#include "kernels/quant/lattice/grid.h"

namespace narrow {

struct GridIndex {
  const Grid* grid;
  int n_entries;  // n_levels^dim
  // By the levels' number (Grid::numbers): the point with these levels, or
  // ~(place in `lists`).
  const int32_t* entries;
  int n_lists_words;
  const uint16_t* lists;
};

const GridIndex& Iq2XxsIndex();  // 2 shells
const GridIndex& Iq2XsIndex();   // 2
const GridIndex& Iq2SIndex();    // 1
const GridIndex& Iq1Index();     // 3
const GridIndex& Iq3XxsIndex();  // 2
const GridIndex& Iq3SIndex();    // 3

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_LATTICE_GRID_INDEX_H_
