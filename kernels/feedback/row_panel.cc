#include "kernels/feedback/row_panel.h"

#include <algorithm>
#include <cstddef>

namespace narrow {
namespace {

// Some tens of microseconds, several times what waking a thread takes.
constexpr int64_t kWorthThreads = int64_t{1} << 20;
// Columns that kernels take together (kernels/simd/row_products.inc).
constexpr int64_t kColumnsTogether = 48;

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

void RowPanel::Gather(const uint8_t* codes, int64_t ld, int64_t first,
                      int64_t n, uint8_t* columns) const {
  Transpose(codes + first_row * ld + first, ld, n_rows, n, n_lanes, columns);
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
  const auto run = [&](int64_t i, ThreadPool* idle) {
    RowPanel panel;
    panel.pool = idle;
    panel.first_row = i * width;
    panel.n_rows = std::min(width, n_rows - panel.first_row);
    panel.n_lanes =
        (panel.n_rows + kPanelLanes - 1) / kPanelLanes * kPanelLanes;
    body(panel);
  };
  const int64_t n_panels = (n_rows + width - 1) / width;
  if (n_panels == 1) {
    run(0, pool);
    return;
  }
  if (pool != nullptr) {
    pool->ParallelFor(n_panels, [&](int64_t i) { run(i, nullptr); });
    return;
  }
  for (int64_t i = 0; i < n_panels; ++i) {
    run(i, nullptr);
  }
}

void ForColumns(ThreadPool* pool, int64_t begin, int64_t end, int64_t work,
                absl::FunctionRef<void(int64_t, int64_t)> body) {
  if (pool == nullptr || pool->n_threads() == 1 || work < kWorthThreads) {
    body(begin, end);
    return;
  }
  const int64_t n_strips =
      (end - begin + kColumnsTogether - 1) / kColumnsTogether;
  const int64_t n_parts =
      std::min<int64_t>(n_strips, 2 * int64_t{pool->n_threads()});
  pool->ParallelFor(n_parts, [&](int64_t part) {
    const int64_t first = begin + part * n_strips / n_parts * kColumnsTogether;
    const int64_t last =
        begin + (part + 1) * n_strips / n_parts * kColumnsTogether;
    body(first, std::min(last, end));
  });
}

}  // namespace narrow
