// What GPTQ and AWQ have in common: scales and zero points of groups of
// inputs, stored [groups, outputs], the other way round than in a
// QuantizedMatrix.
//
// Pure functions.

#ifndef NARROW_FORMATS_PACKING_INTEGERS_COLUMN_GROUPS_H_
#define NARROW_FORMATS_PACKING_INTEGERS_COLUMN_GROUPS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "formats/packing/packing.h"

namespace narrow {

// Integers in groups of whole columns with plain scales: what both formats
// ask before they look at bits and sizes. `format` is for the message.
absl::Status SupportsColumnGroups(const WeightScheme& scheme, int64_t n_cols,
                                  const char* format);

// [rows, groups] -> [groups, rows], and back.
template <typename T>
std::vector<T> Transposed(const std::vector<T>& values, int64_t n_rows,
                          int64_t n_cols) {
  std::vector<T> out(values.size());
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t c = 0; c < n_cols; ++c) {
      out[static_cast<size_t>(c * n_rows + r)] =
          values[static_cast<size_t>(r * n_cols + c)];
    }
  }
  return out;
}

// Zero points as codes, [groups, rows]; those of a symmetric scheme are
// 2^(bits - 1).
std::vector<uint8_t> ZeroCodes(const QuantizedMatrix& matrix);

// Scales of rows [first_row, first_row + n_rows) into matrix->scales, from a
// checked plane [groups, outputs].
absl::Status ReadGroupScales(const TensorView& plane, int64_t first_row,
                             QuantizedMatrix* matrix);

// Group size by which `n_groups` groups share `n_cols` columns: one of
// `candidates` (0 or less: all columns), or -1 where none of them does.
int64_t MatchGroupSize(const std::vector<int64_t>& candidates, int64_t n_cols,
                       int64_t n_groups);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_INTEGERS_COLUMN_GROUPS_H_
