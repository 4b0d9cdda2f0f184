// What kernels need to know of a codec (block_kernels.h).
//
//   const BlockRuleSet set(*codec);
//   kernels.derive(set.rules(), ld, fields);

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_RULES_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_RULES_H_

#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Owns the tables that its rules point to, so it stays where it was made.
class BlockRuleSet {
 public:
  // REQUIRES: SupportsCompensation(codec).
  explicit BlockRuleSet(const BlockCodec& codec);
  BlockRuleSet(const BlockRuleSet&) = delete;
  BlockRuleSet& operator=(const BlockRuleSet&) = delete;

  const BlockRules& rules() const { return rules_; }

 private:
  void SetCodes(const FieldRanges& ranges);
  void SetScales(const FieldRanges& ranges);

  BlockRules rules_;
  std::vector<float> scale_values_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_RULES_H_
