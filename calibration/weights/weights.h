// Rows of a checkpoint's tensors as float32: the one place where stored bytes
// become numbers, for the converter and the forward pass alike.
//
//   std::vector<float> rows(n * t.meta.n_cols());
//   RETURN_IF_ERROR(ReadRows(model, t, first, n, rows.data()));
//   RETURN_IF_ERROR(ReadScaledRows(model, t, first, n, rows.data()));
//
// Safe from any thread.

#ifndef NARROW_CALIBRATION_WEIGHTS_WEIGHTS_H_
#define NARROW_CALIBRATION_WEIGHTS_WEIGHTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// Decodes rows [first_row, first_row + n_rows) into out[n_rows, n_cols]:
// stored type -> float32 -> + offset -> rounded to meta.type when that is a
// plain 16-bit type. Unimplemented names a type that has no decoder.
absl::Status ReadRows(const Checkpoint& model, const CheckpointTensor& tensor,
                      int64_t first_row, int64_t n_rows, float* out);

// The same times the tensor's scales: the weights that the model means.
absl::Status ReadScaledRows(const Checkpoint& model,
                            const CheckpointTensor& tensor, int64_t first_row,
                            int64_t n_rows, float* out);

// DataLoss names the first weight that is not finite. For where a product has
// come out so: all rows are read.
absl::Status CheckFinite(const Checkpoint& model,
                         const CheckpointTensor& tensor);

// Whether the tensor's rows are, as they are stored, bfloat16 that ReadRows
// only widens.
bool HasPlainBf16(const Checkpoint& model, const CheckpointTensor& tensor);
// Their bits, [n_rows, n_cols]. REQUIRES: HasPlainBf16.
void CopyBf16Rows(const Checkpoint& model, const CheckpointTensor& tensor,
                  int64_t first_row, int64_t n_rows, uint16_t* out);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_WEIGHTS_WEIGHTS_H_
