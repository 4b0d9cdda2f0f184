#include "kernels/grid/panel.h"

#include <algorithm>
#include <cstddef>

#include "kernels/grid/grid_kernels.h"

namespace narrow {
namespace {

// [n_rows, ld] to [n, n_lanes], columns in squares that stay in cache lines.
template <typename T>
void Transpose(const T* from, int64_t ld, int64_t n_rows, int64_t n,
               int64_t n_lanes, T* to) {
  constexpr int64_t kSquare = 16;
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(n, begin + kSquare);
    for (int64_t row = 0; row < n_rows; ++row) {
      for (int64_t j = begin; j < end; ++j) {
        to[j * n_lanes + row] = from[row * ld + j];
      }
    }
    for (int64_t j = begin; j < end; ++j) {
      std::fill(to + j * n_lanes + n_rows, to + (j + 1) * n_lanes, T{0});
    }
  }
}

}  // namespace

void RowPanel::Gather(const float* weights, int64_t ld, int64_t first,
                      int64_t n, float* columns) const {
  Transpose(weights + first_row * ld + first, ld, n_rows, n, n_lanes, columns);
}

void RowPanel::GatherCodes(const GridRows& rows, int64_t first, int64_t n,
                           uint8_t* codes) const {
  Transpose(rows.codes.data() + first_row * rows.n_cols + first, rows.n_cols,
            n_rows, n, n_lanes, codes);
}

void RowPanel::ScatterCodes(const uint8_t* codes, int64_t first, int64_t n,
                            GridRows* rows) const {
  uint8_t* const to = rows->codes.data() + first_row * rows->n_cols + first;
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t j = 0; j < n; ++j) {
      to[row * rows->n_cols + j] = codes[j * n_lanes + row];
    }
  }
}

void RowPanel::GatherGroup(const GridRows& rows, int64_t group, float* scales,
                           float* zeros) const {
  std::fill(scales, scales + n_lanes, 1.0f);
  std::fill(zeros, zeros + n_lanes, 0.0f);
  for (int64_t row = 0; row < n_rows; ++row) {
    const size_t at =
        static_cast<size_t>((first_row + row) * rows.n_groups + group);
    scales[row] = rows.scales[at];
    if (!rows.zeros.empty()) {
      zeros[row] = rows.zeros[at];
    }
  }
}

void RowPanel::ScatterGroup(int64_t group, const float* scales,
                            const float* zeros, GridRows* rows) const {
  for (int64_t row = 0; row < n_rows; ++row) {
    const size_t at =
        static_cast<size_t>((first_row + row) * rows->n_groups + group);
    rows->scales[at] = scales[row];
    if (!rows->zeros.empty()) {
      rows->zeros[at] = zeros[row];
    }
  }
}

int64_t PanelWidth(int64_t n_rows, int n_threads) {
  int64_t width = kMaxPanelRows;
  // Threads end together when each has two panels or more.
  while (width > kPanelLanes && n_rows < 2 * width * n_threads) {
    width /= 2;
  }
  return width;
}

void ForEachPanel(int64_t n_rows, int64_t width, ThreadPool* pool,
                  absl::FunctionRef<void(const RowPanel&)> body) {
  const auto run = [&](int64_t i) {
    RowPanel panel;
    panel.first_row = i * width;
    panel.n_rows = std::min(width, n_rows - panel.first_row);
    panel.n_lanes =
        (panel.n_rows + kPanelLanes - 1) / kPanelLanes * kPanelLanes;
    body(panel);
  };
  const int64_t n_panels = (n_rows + width - 1) / width;
  if (pool != nullptr) {
    pool->ParallelFor(n_panels, run);
    return;
  }
  for (int64_t i = 0; i < n_panels; ++i) {
    run(i);
  }
}

}  // namespace narrow
