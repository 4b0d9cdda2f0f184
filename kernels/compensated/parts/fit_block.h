// Fields of one block for all rows of a panel.
//
//   FitBlock(codec, rules, n_rows, columns, weights, block, &panel);

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_FIT_BLOCK_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_FIT_BLOCK_H_

#include <cstdint>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/parts/block_panel.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Fits block `block` of the first n_rows lanes to `columns` [codec.block,
// lanes] under column weights [codec.block]. Types with an encoder that heeds
// weights get its fields (they are at the optimum of their own search); others
// the best of scales near the encoder's. REQUIRES: finite columns, positive
// weights.
void FitBlock(const BlockCodec& codec, const BlockRules& rules, int64_t n_rows,
              const float* columns, const float* weights, int64_t block,
              BlockPanel* panel);

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_FIT_BLOCK_H_
