// Scales that a transform chose, put into what they change: the columns of a
// group's weights, what feeds them, and the statistics of their inputs.
//
//   FoldIntoNorm(offset, QuantType::kBF16, norm, n, scales.data());
//   ScaleColumns(scales, n_rows, weights);         // every member, router too
//   LayerStats scaled = ScaleStats(*stats, scales);
//
// First the absorber, then the rest: FoldIntoNorm changes the scales to what
// the stored norm really divides by. Pure functions.

#ifndef NARROW_CONVERTER_SOLVERS_TRANSFORMS_FOLD_SCALES_H_
#define NARROW_CONVERTER_SOLVERS_TRANSFORMS_FOLD_SCALES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "formats/quant_type.h"

namespace narrow {

// norm[j] becomes (norm[j] + offset) / scales[j] - offset, rounded to `type`
// (F32, F16, BF16), and scales[j] the quotient of the old and the new factor,
// so that norm and weights together compute what they did. Where a factor is
// 0, or would be, the element stays and its scale becomes 1.
void FoldIntoNorm(float offset, QuantType type, absl::Span<float> norm,
                  absl::Span<float> scales);

// The scale of each of `n_absorber_rows` rows that feed the columns: that of
// its columns, 1 for rows that feed none. `row_of_column` empty: row j feeds
// column j. REQUIRES: columns of one row have one scale.
std::vector<float> ScalesOfRows(absl::Span<const float> scales,
                                absl::Span<const int32_t> row_of_column,
                                int64_t n_absorber_rows);

// weights[r, :] /= row_scales[r] for r < row_scales.size(); a bias is a matrix
// of one column.
void DivideRows(absl::Span<const float> row_scales, int64_t n_cols,
                float* weights);

// weights[:, j] *= scales[j].
void ScaleColumns(absl::Span<const float> scales, int64_t n_rows,
                  float* weights);

// Of inputs divided by the scales: sums, moments and held-out rows. Largest and
// least value over all columns become bounds: the largest magnitude and its
// negative (no more than 0 where no input was below it).
LayerStats ScaleStats(const LayerStats& stats, absl::Span<const float> scales);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_TRANSFORMS_FOLD_SCALES_H_
