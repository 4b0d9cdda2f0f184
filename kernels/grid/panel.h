// Scales, zeros and codes of a grid's rows as the lanes of a panel
// (kernels/feedback/row_panel.h), and back. Lanes beyond the last row hold
// scale 1, zero 0.

#ifndef NARROW_KERNELS_GRID_PANEL_H_
#define NARROW_KERNELS_GRID_PANEL_H_

#include <cstdint>

#include "kernels/feedback/row_panel.h"
#include "kernels/grid/grid.h"

namespace narrow {

// Of one group, [n_lanes] each.
void GatherGroup(const RowPanel& panel, const GridRows& rows, int64_t group,
                 float* scales, float* zeros);
void ScatterGroup(const RowPanel& panel, int64_t group, const float* scales,
                  const float* zeros, GridRows* rows);
// Columns first ... first + n - 1 of [n, n_lanes] codes.
void ScatterCodes(const RowPanel& panel, const uint8_t* codes, int64_t first,
                  int64_t n, GridRows* rows);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_PANEL_H_
