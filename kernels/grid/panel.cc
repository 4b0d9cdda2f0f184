#include "kernels/grid/panel.h"

#include <algorithm>
#include <cstddef>

namespace narrow {

void ScatterCodes(const RowPanel& panel, const uint8_t* codes, int64_t first,
                  int64_t n, GridRows* rows) {
  uint8_t* const to =
      rows->codes.data() + panel.first_row * rows->n_cols + first;
  for (int64_t row = 0; row < panel.n_rows; ++row) {
    for (int64_t j = 0; j < n; ++j) {
      to[row * rows->n_cols + j] = codes[j * panel.n_lanes + row];
    }
  }
}

void GatherGroup(const RowPanel& panel, const GridRows& rows, int64_t group,
                 float* scales, float* zeros) {
  std::fill(scales, scales + panel.n_lanes, 1.0f);
  std::fill(zeros, zeros + panel.n_lanes, 0.0f);
  for (int64_t row = 0; row < panel.n_rows; ++row) {
    const size_t at =
        static_cast<size_t>((panel.first_row + row) * rows.n_groups + group);
    scales[row] = rows.scales[at];
    if (!rows.zeros.empty()) {
      zeros[row] = rows.zeros[at];
    }
  }
}

void ScatterGroup(const RowPanel& panel, int64_t group, const float* scales,
                  const float* zeros, GridRows* rows) {
  for (int64_t row = 0; row < panel.n_rows; ++row) {
    const size_t at =
        static_cast<size_t>((panel.first_row + row) * rows->n_groups + group);
    rows->scales[at] = scales[row];
    if (!rows->zeros.empty()) {
      rows->zeros[at] = zeros[row];
    }
  }
}

}  // namespace narrow
