// Quantized matrices as GGUF's blocks of 32 weights and back, no code and no
// scale changed but in how it is written.
//
//   ASSIGN_OR_RETURN(auto types, BlockTypes(scheme, n_cols));
//   RETURN_IF_ERROR(AppendBlocks(matrix, rows, types[0], 0, &bytes));
//   ASSIGN_OR_RETURN(auto m, ReadBlocks(type, n_rows, n_cols, row_bytes));
//
//   q4_0    d f16 | 16 bytes    w = d (q - 8)    byte j: weight j in bits 0-3,
//   q4_1    d f16 | m f16 | 16  w = d q + m              weight j + 16 in 4-7
//   q8_0    d f16 | 32 bytes    w = d q          q signed
//   mxfp4   e8m0  | 16 bytes    w = 2^(e-127) E2M1[q]    as q4_0
//
// Little-endian, frozen by ggml. A group of 64, 128 ... weights under one scale
// becomes blocks that repeat the scale. Pure.

#ifndef NARROW_CONVERTER_REPACK_GGUF_BLOCKS_H_
#define NARROW_CONVERTER_REPACK_GGUF_BLOCKS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/quant_type.h"

namespace narrow {

// The types that may hold a matrix of this scheme, the smallest first; which
// of several does, its values tell. Unimplemented, InvalidArgument: none can,
// and why.
absl::StatusOr<std::vector<QuantType>> BlockTypes(const WeightScheme& scheme,
                                                  int64_t n_cols);

// Appends `rows` of the matrix, in their order, as blocks. InvalidArgument
// names the row and the columns of a code, scale or minimum that `type` does
// not hold exactly; `first_row` is what messages call row 0. REQUIRES:
// BlockTypes has `type`, or it is q8_0 in place of q4_0 and q4_1.
absl::Status AppendBlocks(const QuantizedMatrix& matrix,
                          absl::Span<const int64_t> rows, QuantType type,
                          int64_t first_row, std::vector<uint8_t>* bytes);

// Whether ReadBlocks reads `type`.
bool IsBlockType(QuantType type);

// What a matrix of blocks is called among packings. REQUIRES: IsBlockType.
WeightScheme SchemeOfBlocks(QuantType type);

// `row_bytes(r)` gives the blocks of row r. DataLoss names row and columns of
// a scale that is not finite; InvalidArgument those of a minimum that is no
// multiple of its scale (q4_1), for which packings have no zero point.
// REQUIRES: IsBlockType(type).
absl::StatusOr<QuantizedMatrix> ReadBlocks(
    QuantType type, int64_t n_rows, int64_t n_cols,
    const std::function<absl::Span<const uint8_t>(int64_t)>& row_bytes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_GGUF_BLOCKS_H_
