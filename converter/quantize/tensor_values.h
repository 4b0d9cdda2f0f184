// Tensors of a checkpoint as float32, and back.
//
//   RETURN_IF_ERROR(ReadValues(view, 0, n_rows, pool, weights.data()));
//   RETURN_IF_ERROR(AppendValues(values, QuantType::kBF16, name, &bytes));
//
// Pure; `pool` shares out the rows and may be null.

#ifndef NARROW_CONVERTER_QUANTIZE_TENSOR_VALUES_H_
#define NARROW_CONVERTER_QUANTIZE_TENSOR_VALUES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/base/parallel.h"
#include "formats/tensor.h"

namespace narrow {

// Rows [first_row, first_row + n_rows) of a tensor of f32, f16 or bf16, or one
// with `rows`. DataLoss names the row and column of a number that is not
// finite.
absl::Status ReadValues(const TensorView& view, int64_t first_row,
                        int64_t n_rows, ThreadPool* pool, float* out);

// Rounds to f32, f16 or bf16, ties to even. DataLoss: a number that is not
// finite in that type; `name` is the tensor's.
absl::Status AppendValues(absl::Span<const float> values, QuantType type,
                          absl::string_view name, std::vector<uint8_t>* bytes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_TENSOR_VALUES_H_
