// A quantized matrix as another packing can hold it, every weight the same to
// the last bit: codes stay, scales change their type if all of their values
// allow it, zero points are written out or left out.
//
//   ASSIGN_OR_RETURN(WeightScheme scheme, RefitScheme(scheme, rows, cols, to));
//   ASSIGN_OR_RETURN(QuantizedMatrix same, RefitMatrix(matrix, scheme));
//
// What a scheme becomes follows from the scheme alone; whether the values
// allow it is found when they are read. Pure.

#ifndef NARROW_CONVERTER_REPACK_REFIT_MATRIX_H_
#define NARROW_CONVERTER_REPACK_REFIT_MATRIX_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "formats/packing/packing.h"
#include "formats/packing/quantized_matrix.h"

namespace narrow {

// The scheme nearest to `scheme` that `to` supports. Its error where it
// supports none: what of `scheme` it has not.
absl::StatusOr<WeightScheme> RefitScheme(const WeightScheme& scheme,
                                         int64_t n_rows, int64_t n_cols,
                                         const Packing& to);

// REQUIRES: `scheme` is RefitScheme's of the matrix. InvalidArgument: a value
// would be lost, and which.
absl::StatusOr<QuantizedMatrix> RefitMatrix(QuantizedMatrix matrix,
                                            const WeightScheme& scheme);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REFIT_MATRIX_H_
