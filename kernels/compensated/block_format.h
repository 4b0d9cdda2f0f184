// Rows of blocks of a codec as error feedback and descent see them
// (kernels/feedback/matrix_format.h).
//
//   const BlockFormat format(codec, n_cols, bytes, bytes);
//   Feed(format, problem, &pool);

#ifndef NARROW_KERNELS_COMPENSATED_BLOCK_FORMAT_H_
#define NARROW_KERNELS_COMPENSATED_BLOCK_FORMAT_H_

#include <cstdint>
#include <memory>

#include "kernels/compensated/parts/block_rules.h"
#include "kernels/compensated/parts/unit_rules.h"
#include "kernels/feedback/matrix_format.h"
#include "kernels/quant/codec.h"

namespace narrow {

class BlockFormat final : public MatrixFormat {
 public:
  // Reads blocks `from` where they were encoded before (nullptr: all values
  // are 0) and stores rows `to`; borrows all. REQUIRES:
  // SupportsCompensation(codec); whole blocks a row.
  BlockFormat(const BlockCodec& codec, int64_t n_cols, const uint8_t* from,
              uint8_t* to);

  int64_t n_cols() const override { return n_cols_; }
  int64_t block() const override { return codec_.block; }
  BlockForm MakeForm(int64_t block, const float* h,
                     int64_t h_stride) const override;
  std::unique_ptr<FormatPanel> Open(const RowPanel& rows,
                                    bool fresh) const override;
  AddProductsFn add_products() const override;

 private:
  const BlockCodec& codec_;
  const BlockRuleSet rules_;
  const UnitRuleSet units_;
  const int64_t n_cols_;
  const uint8_t* const from_;
  uint8_t* const to_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_BLOCK_FORMAT_H_
