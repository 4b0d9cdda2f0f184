// Rows of a packed matrix on their way to a device: the words of their codes
// as the file has them, and their scales and zero points as numbers.
//
//   ASSIGN / if (const auto rows = FindPackedRows(tensor, first, n)) {
//     ... RETURN_IF_ERROR(rows->Fill(n, &pool, pinned)); copy to `staged` ...
//     RunCodes(rows->Task(staged), &stream)
//   }
//
// A piece's bytes: words, scales, zeros, groups of columns, each from a
// multiple of 16 on.

#ifndef NARROW_CALIBRATION_DEVICE_PACKED_PIECE_H_
#define NARROW_CALIBRATION_DEVICE_PACKED_PIECE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "formats/arch/checkpoint_tensor.h"
#include "formats/base/parallel.h"
#include "formats/packing/packing.h"
#include "kernels/packed/device/codes_threads.h"

namespace narrow {

// Rows that can be decoded by themselves begin and end at multiples of this,
// or at the last row. 0: rows [first_row, first_row + n_rows) of the tensor
// are not all packed in a way that a device can take apart, or not cut so.
int64_t PackedRowStep(const CheckpointTensor& tensor, int64_t first_row,
                      int64_t n_rows);

// Rows of one module. Borrows from the tensor.
class PackedPiece {
 public:
  // Of the tensor, from `row` on, at most `n_rows` of them and no more than
  // the module has there. REQUIRES: PackedRowStep is above 0 and divides row.
  PackedPiece(const CheckpointTensor& tensor, int64_t row, int64_t n_rows);

  int64_t n_rows() const { return n_rows_; }
  int64_t n_bytes() const { return groups_at_ + groups_bytes_; }
  CodeKind code_kind() const { return module_->scheme.code; }

  // Reads n_bytes() into `to`. Errors are those of the packing's unpack.
  absl::Status Fill(ThreadPool* pool, uint8_t* to);
  // For the bytes at `staged`; without table and results. REQUIRES: Fill.
  CodesTask Task(const uint8_t* staged) const;

 private:
  absl::Status FillWords(ThreadPool* pool, uint8_t* to) const;
  bool is_by_rows() const { return layout_.col_step == 1; }
  // Of one line of words, a row of them or a column.
  int64_t LineBytes() const;
  int64_t NumLines() const;

  const PackedModule* module_;
  CodeLayout layout_;  // in the file
  int64_t first_row_;  // of the module
  int64_t n_rows_;
  int64_t interleave_group_;
  int64_t n_scales_;
  int64_t scales_at_, zeros_at_, groups_at_, groups_bytes_;
  float global_scale_ = 1;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_PACKED_PIECE_H_
