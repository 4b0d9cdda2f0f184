// Pieces of tensors: the unit of work of a conversion, and an in-order hand
// over from many computing threads to one that writes.
//
//   std::vector<Piece> pieces = CutIntoPieces(tensors, max_weights);
//   RETURN_IF_ERROR(RunInOrder(pieces.size(), n_threads, n_in_flight,
//                              compute, consume));

#ifndef NARROW_CONVERTER_PIECES_H_
#define NARROW_CONVERTER_PIECES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "formats/tensor.h"

namespace narrow {

// Whole rows of one tensor, and of one matrix (expert) of it.
struct Piece {
  size_t tensor;  // index
  int64_t matrix;
  int64_t first_row;  // among all rows of the tensor
  int64_t n_rows;
};

// Consecutive rows of one tensor.
struct RowRange {
  size_t tensor;  // index
  int64_t first_row;
  int64_t n_rows;
};

// All rows of all tensors.
std::vector<RowRange> AllRows(absl::Span<const TensorMeta> tensors);

// Pieces of at most `max_weights` weights, but at least one row, in order.
// REQUIRES: ranges lie in their tensors.
std::vector<Piece> CutIntoPieces(absl::Span<const TensorMeta> tensors,
                                 absl::Span<const RowRange> ranges,
                                 int64_t max_weights);
std::vector<Piece> CutIntoPieces(absl::Span<const TensorMeta> tensors,
                                 int64_t max_weights);

// Calls compute(i, slot) for i = 0 … n - 1 on `n_threads` threads, and
// consume(i, slot) on the calling thread in the order of i, after it. Slots
// number 0 … n_slots - 1; a slot belongs to its i from compute to the end of
// consume, so at most n_slots items are in flight. The first error in the
// order of i ends everything and is returned.
absl::Status RunInOrder(
    int64_t n, int n_threads, int n_slots,
    const std::function<absl::Status(int64_t, int)>& compute,
    const std::function<absl::Status(int64_t, int)>& consume);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PIECES_H_
