// Some rows of a matrix as the lanes of a panel: what belongs to column j
// begins at panel + j * n_lanes. Lanes beyond the last row hold zeros.
//
//   ForEachPanel(n_rows, PanelWidth(n_rows, n_threads), pool,
//                [&](const RowPanel& panel) {
//     panel.Gather(weights, ld, first_col, n, columns);   // [n, n_lanes]
//     ForColumns(panel.pool, 0, n, work,
//                [&](int64_t begin, int64_t end) { ... });
//   });
//
// Plain values; panels of different rows may be used by different threads.

#ifndef NARROW_KERNELS_FEEDBACK_ROW_PANEL_H_
#define NARROW_KERNELS_FEEDBACK_ROW_PANEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "formats/base/parallel.h"

namespace narrow {

inline constexpr int64_t kPanelLanes = 16;
// Rows of the widest panel.
inline constexpr int64_t kMaxPanelRows = 64;

struct RowPanel {
  int64_t first_row = 0;
  int64_t n_rows = 0;
  int64_t n_lanes = 0;  // a multiple of kPanelLanes, n_rows or more
  // Threads that have no panel of their own; null: all have one.
  ThreadPool* pool = nullptr;

  // Columns first ... first + n - 1 of [., ld] weights, or codes.
  void Gather(const float* weights, int64_t ld, int64_t first, int64_t n,
              float* columns) const;
  void Gather(const uint8_t* codes, int64_t ld, int64_t first, int64_t n,
              uint8_t* columns) const;
};

// Rows of a panel: as many as kernels like best, fewer where threads would
// have nothing to do. Results do not depend on it.
int64_t PanelWidth(int64_t n_rows, int n_threads);

// Calls body for panels of `width` rows, by all threads. `pool` may be null.
void ForEachPanel(int64_t n_rows, int64_t width, ThreadPool* pool,
                  absl::FunctionRef<void(const RowPanel&)> body);

// Calls body for ranges of columns that make up [begin, end), by all threads
// if `work` multiplications are worth waking them. `pool` may be null.
void ForColumns(ThreadPool* pool, int64_t begin, int64_t end, int64_t work,
                absl::FunctionRef<void(int64_t, int64_t)> body);

}  // namespace narrow

#endif  // NARROW_KERNELS_FEEDBACK_ROW_PANEL_H_
