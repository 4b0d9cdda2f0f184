// What error feedback and descent (feedback.h) ask of a way to store weights:
// blocks of columns that share fields, codes under them, some rows of it at a
// time in the lanes of a panel. Implemented by every block codec
// (kernels/compensated/block_format.h) and by the grids of packed formats
// (kernels/grid/grid_format.h), so one core serves all.
//
//   const std::unique_ptr<FormatPanel> panel = format.Open(rows, false);
//   panel->Fit(block, columns, weights);         // fields of a block
//   panel->Round(piece);                         // codes, and their errors
//   panel->Improve(block, form, true, true, values, gradient);
//   panel->Store(lane);                          // to where the format is
//
// A panel's values are those that a file's reader will decode. A format is
// shared by threads, a panel belongs to one; panels of different rows may
// store side by side. Rows are lanes: no operation reads two of them.

#ifndef NARROW_KERNELS_FEEDBACK_MATRIX_FORMAT_H_
#define NARROW_KERNELS_FEEDBACK_MATRIX_FORMAT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/feedback/row_panel.h"

namespace narrow {

// c[i, :] = fma(a[rows[t], i], b[t, :], c[i, :]) for t = 0 ... k - 1 in this
// order and i in [begin, end); a [., a_stride], b [k, ld], c [., ld].
using AddProductsFn = void (*)(const float* a, int64_t a_stride,
                               const int32_t* rows, int64_t k, const float* b,
                               int64_t begin, int64_t end, float* c,
                               int64_t ld);

// A quadratic form's square of one block, and what follows from it. Shared by
// all panels; borrows the form.
struct BlockForm {
  const float* h = nullptr;  // [block, h_stride]
  int64_t h_stride = 0;
  // Sums of its rows over each sub-block, [block, sub-blocks].
  std::vector<float> sums;
  std::vector<float> inverses;  // of units above 1: [block, unit]
};

// Columns that are rounded one after the other (or in units), whole units.
struct FeedPiece {
  int64_t n = 0;
  const int32_t* columns = nullptr;  // [n]
  // [n, lanes]: by all columns before the piece; units also move it.
  float* compensated = nullptr;
  const float* originals = nullptr;  // [n, lanes]
  const float* m = nullptr;          // M's own square, [n, m_stride]
  int64_t m_stride = 0;
  const float* metric = nullptr;  // [n, unit], of units above 1
  float* errors = nullptr;        // out: [n, lanes], originals less values
};

class FormatPanel {
 public:
  virtual ~FormatPanel() = default;

  // Fields of `block` for its columns [block, lanes] under column weights.
  // REQUIRES: finite columns, positive weights.
  virtual void Fit(int64_t block, const float* columns,
                   const float* weights) = 0;
  // Codes under the fields there are.
  virtual void Round(const FeedPiece& piece) = 0;
  // One round of refits and descent on a block under a form; changes its
  // fields, codes, `values` and `gradient` (form times values less targets),
  // both [block, lanes].
  virtual void Improve(int64_t block, const BlockForm& form, bool refit,
                       bool sweep, float* values, float* gradient) = 0;
  // All values, [n_cols, lanes].
  virtual void Decode(float* values) = 0;
  virtual void Store(int64_t lane) = 0;
};

class MatrixFormat {
 public:
  virtual ~MatrixFormat() = default;

  virtual int64_t n_cols() const = 0;
  // Blocks of this many columns from the first on; the last may be short.
  virtual int64_t block() const = 0;
  virtual BlockForm MakeForm(int64_t block, const float* h,
                             int64_t h_stride) const = 0;
  // `fresh`: what is stored need not be read, as fields and codes are to be
  // found anew.
  virtual std::unique_ptr<FormatPanel> Open(const RowPanel& rows,
                                            bool fresh) const = 0;
  virtual AddProductsFn add_products() const = 0;

  int64_t n_blocks() const { return (n_cols() + block() - 1) / block(); }
};

}  // namespace narrow

#endif  // NARROW_KERNELS_FEEDBACK_MATRIX_FORMAT_H_
