// One round of refits and descent on one block of a panel of rows, under any
// quadratic form of the block's values: a Gram matrix's own square, or what
// remains of it once the columns behind made up for what they can.
//
//   BlockImprover improver(codec, rules, units, lanes);
//   improver.Improve(form, options, n_rows, block, gram, &panel);

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_IMPROVE_BLOCK_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_IMPROVE_BLOCK_H_

#include <cstdint>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/parts/block_panel.h"
#include "kernels/compensated/parts/unit_rules.h"
#include "kernels/feedback/matrix_format.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Of a block's square of a form.
BlockForm MakeBlockForm(const BlockCodec& codec, const BlockRules& rules,
                        const float* h, int64_t h_stride);

// Works on one panel at a time; holds its scratch memory. Borrows all.
class BlockImprover {
 public:
  BlockImprover(const BlockCodec& codec, const BlockRules& rules,
                const UnitRuleSet& units, int64_t lanes);

  // Changes fields and codes of `block`, `values` [block, lanes] and
  // `gradient` [block, lanes], form times values less targets.
  void Improve(const BlockForm& form, bool refit, bool sweep, int64_t n_rows,
               int64_t block, float* values, float* gradient,
               BlockPanel* panel);

 private:
  void SweepUnits(const BlockForm& form, int64_t n_rows, int64_t block,
                  const GramBlock& gram, const BlockPanel& panel);
  void NewtonTargets(const BlockForm& form, const GramBlock& gram, int first);

  const BlockCodec& codec_;
  const BlockRules& rules_;
  const UnitRuleSet& units_;
  const int64_t lanes_;
  std::vector<int32_t> numbers_;  // 0, 1, 2 ...
  std::vector<float> direction_;  // [block, lane]
  std::vector<float> curvature_;
  std::vector<float> targets_;  // of a unit, [unit, lane]
  std::vector<float> downs_;    // [lane]
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_IMPROVE_BLOCK_H_
