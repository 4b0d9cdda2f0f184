// Rows of any tensor as float32, whether a file holds them or a RowSource.

#ifndef NARROW_FORMATS_TENSOR_ROWS_H_
#define NARROW_FORMATS_TENSOR_ROWS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "formats/tensor.h"

namespace narrow {

// Rows [first_row, first_row + n_rows), [n_rows, n_cols]. Unimplemented for
// types other than f32, f16 and bf16; what the view's RowSource says.
absl::Status ReadTensorRows(const TensorView& view, int64_t first_row,
                            int64_t n_rows, float* out);

}  // namespace narrow

#endif  // NARROW_FORMATS_TENSOR_ROWS_H_
