// Some rows of a matrix as the lanes of a panel (grid_kernels.h): columns
// gathered from rows and scattered back. Lanes beyond the last row hold zeros
// and scale 1.
//
//   ForEachPanel(n_rows, PanelWidth(n_rows, n_threads), pool,
//                [&](const RowPanel& panel) {
//     panel.Gather(weights, ld, first_col, n, columns);   // [n, n_lanes]
//   });
//
// Plain values; panels of different rows may be used by different threads.

#ifndef NARROW_KERNELS_GRID_PANEL_H_
#define NARROW_KERNELS_GRID_PANEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "formats/base/parallel.h"
#include "kernels/grid/grid.h"

namespace narrow {

struct RowPanel {
  int64_t first_row = 0;
  int64_t n_rows = 0;
  int64_t n_lanes = 0;  // a multiple of kPanelLanes, n_rows or more

  // Columns first ... first + n - 1 of [., ld] weights.
  void Gather(const float* weights, int64_t ld, int64_t first, int64_t n,
              float* columns) const;
  // Scales and zeros of a group, [n_lanes] each.
  void GatherGroup(const GridRows& rows, int64_t group, float* scales,
                   float* zeros) const;
  void ScatterGroup(int64_t group, const float* scales, const float* zeros,
                    GridRows* rows) const;
  void GatherCodes(const GridRows& rows, int64_t first, int64_t n,
                   uint8_t* codes) const;
  void ScatterCodes(const uint8_t* codes, int64_t first, int64_t n,
                    GridRows* rows) const;
};

// Rows of a panel: as many as kernels like best, fewer where threads would
// have nothing to do. Results do not depend on it.
int64_t PanelWidth(int64_t n_rows, int n_threads);

// Calls body for panels of `width` rows, by all threads. `pool` may be null.
void ForEachPanel(int64_t n_rows, int64_t width, ThreadPool* pool,
                  absl::FunctionRef<void(const RowPanel&)> body);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_PANEL_H_
