// Rows of a grid as error feedback and descent see them
// (kernels/feedback/matrix_format.h).
//
//   GridFormat format(fit_options, &rows);
//   Feed(format, problem, &pool);          // codes, perhaps scales, in `rows`

#ifndef NARROW_KERNELS_GRID_GRID_FORMAT_H_
#define NARROW_KERNELS_GRID_GRID_FORMAT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/feedback/matrix_format.h"
#include "kernels/grid/grid.h"
#include "kernels/grid/grid_rules.h"

namespace narrow {

class GridFormat final : public MatrixFormat {
 public:
  // Groups are fitted as `fit` says. Borrows `rows`.
  GridFormat(const FitOptions& fit, GridRows* rows);

  int64_t n_cols() const override { return rows_.n_cols; }
  int64_t block() const override {
    return rows_.spec.group > 0 ? rows_.spec.group : rows_.n_cols;
  }
  BlockForm MakeForm(int64_t block, const float* h,
                     int64_t h_stride) const override;
  std::unique_ptr<FormatPanel> Open(const RowPanel& rows,
                                    bool fresh) const override;
  AddProductsFn add_products() const override;

 private:
  GridRows& rows_;
  const GridRules rules_;
  std::vector<FitStart> starts_;
  FitPlan plan_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_GRID_FORMAT_H_
