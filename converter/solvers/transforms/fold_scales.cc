#include "converter/solvers/transforms/fold_scales.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <memory>
#include <utility>

#include "formats/packing/scale_type.h"

namespace narrow {

void FoldIntoNorm(float offset, QuantType type, absl::Span<float> norm,
                  absl::Span<float> scales) {
  assert(norm.size() == scales.size());
  for (size_t j = 0; j < norm.size(); ++j) {
    const float factor = norm[j] + offset;
    const float folded = RoundToScaleType(type, factor / scales[j] - offset);
    const float effective = factor / (folded + offset);
    if (std::isfinite(folded) && std::isfinite(effective) && effective > 0) {
      norm[j] = folded;
      scales[j] = effective;
    } else {
      scales[j] = 1;
    }
  }
}

std::vector<float> ScalesOfRows(absl::Span<const float> scales,
                                absl::Span<const int32_t> row_of_column,
                                int64_t n_absorber_rows) {
  std::vector<float> rows(static_cast<size_t>(n_absorber_rows), 1.0f);
  for (size_t j = 0; j < scales.size(); ++j) {
    const size_t row =
        row_of_column.empty() ? j : static_cast<size_t>(row_of_column[j]);
    assert(row < rows.size());
    rows[row] = scales[j];
  }
  return rows;
}

void DivideRows(absl::Span<const float> row_scales, int64_t n_cols,
                float* weights) {
  for (const float scale : row_scales) {
    for (int64_t j = 0; j < n_cols; ++j) {
      *weights++ /= scale;
    }
  }
}

void ScaleColumns(absl::Span<const float> scales, int64_t n_rows,
                  float* weights) {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (const float scale : scales) {
      *weights++ *= scale;
    }
  }
}

LayerStats ScaleStats(const LayerStats& stats, absl::Span<const float> scales) {
  LayerStats scaled = stats;
  const size_t n = scales.size();
  float top = 0;
  for (size_t j = 0; j < n; ++j) {
    const double s = double{scales[j]};
    if (!stats.sum_sq.empty()) {
      scaled.sum_sq[j] /= s * s;
      scaled.sum_abs[j] /= s;
      scaled.max_abs[j] /= scales[j];
      top = std::max(top, scaled.max_abs[j]);
    }
  }
  scaled.max_value = std::max(stats.max_value, 0.0f) > 0 ? top : 0;
  scaled.min_value = stats.min_value < 0 ? -top : 0;
  for (std::vector<double>* matrix : {&scaled.gram, &scaled.cross}) {
    for (size_t i = 0; i < matrix->size(); ++i) {
      (*matrix)[i] /= double{scales[i / n]} * double{scales[i % n]};
    }
  }
  for (size_t i = 0; i < scaled.residual.size(); ++i) {
    scaled.residual[i] /= double{scales[i % n]};
  }
  if (stats.held_out != nullptr) {
    auto rows = std::make_shared<HeldOutRows>(*stats.held_out);
    for (std::vector<float>* inputs : {&rows->inputs, &rows->originals}) {
      for (size_t i = 0; i < inputs->size(); ++i) {
        (*inputs)[i] /= scales[i % n];
      }
    }
    scaled.held_out = std::move(rows);
  }
  return scaled;
}

}  // namespace narrow
