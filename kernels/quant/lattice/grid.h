// The lattices of the IQ types: which combinations of magnitudes a unit of 8
// or 4 weights can have.
//
//   const Grid& grid = Iq2XsGrid();
//   const uint8_t* levels = grid.levels + 8 * point;  // each 0, 1 or 2
//
// A grid lists points; an index stored in a file is a place in that list. A
// point has a level per coordinate: 0 for the least magnitude there is, and so
// on. What a level is worth is the type's affair.
//
// Grids live as long as the program and are safe from any thread. For the
// sources of simd_library too.

#ifndef NARROW_KERNELS_QUANT_LATTICE_GRID_H_
#define NARROW_KERNELS_QUANT_LATTICE_GRID_H_

#include <cstdint>

namespace narrow {

struct Grid {
  int dim;
  int n_levels;
  int n_points;
  const uint8_t* levels;  // [n_points, dim]
  // A point's levels as one number: level i times n_levels^i, summed.
  const uint16_t* numbers;
};

const Grid& Iq2XxsGrid();
const Grid& Iq2XsGrid();
const Grid& Iq2SGrid();
const Grid& Iq1Grid();  // IQ1_S and IQ1_M
const Grid& Iq3XxsGrid();
const Grid& Iq3SGrid();

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_LATTICE_GRID_H_
