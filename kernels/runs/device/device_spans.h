// Rows, rectangles and whole matrices under one scale each on a device, from
// and to the host's memory, with the bits of
// converter/solvers/runs/run_scales.h.
//
//   SpanProblem problem = ...;                        // FP8 by row, say
//   SpanResults results;                              // scales, codes, errors
//   RETURN_IF_ERROR(SolveSpans(device, problem, note, &results));
//
// Bands of `height` rows are independent; those that fit into the device's
// memory go at once. Safe from any thread.

#ifndef NARROW_KERNELS_RUNS_DEVICE_DEVICE_SPANS_H_
#define NARROW_KERNELS_RUNS_DEVICE_DEVICE_SPANS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/runs/device/span_threads.h"

namespace narrow {

// Everything is borrowed, and the host's.
struct SpanProblem {
  absl::string_view name;          // for messages
  const float* weights = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t height = 1;  // rows and columns of a span
  int64_t width = 0;
  absl::Span<const float> importance;  // [n_cols], or empty
  RunGrid grid;
  one_lane::StoredScale stored = one_lane::StoredScale::kF32;
  float unit = 1;  // what a stored scale is multiplied with
  // Scales to try: the largest magnitude over `over`, and that times each of
  // `factors`, at most kMostScales - 1; then `n_refits` by least squares.
  float over = 1;
  absl::Span<const float> factors;
  int n_refits = 0;
  // Weights are rounded over unit * scale, or times inverse_unit over scale.
  RunDivision division = RunDivision::kDivide;
  float inverse_unit = 1;
};

struct SpanResults {
  std::vector<float> scales;  // of spans, row by row
  std::vector<uint8_t> codes;
  std::vector<double> before;    // errors of each span: under the first scale,
  std::vector<double> after;     // and under the chosen one
  std::vector<double> energies;  // of each row: importance times squares
};

// Waits. `on_smaller` is told with how few rows it went on. ResourceExhausted:
// the device's memory has no room for one band.
absl::Status SolveSpans(
    const Device& device, const SpanProblem& problem,
    const std::function<void(int64_t n_rows, absl::string_view why)>&
        on_smaller,
    SpanResults* results);

}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_DEVICE_SPANS_H_
