// What kernels need to know of the points of a lattice type.
//
//   const UnitRuleSet set(*codec);      // REQUIRES: codec->unit > 1
//   kernels.round_unit(set.rules(), unit_block);

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_UNIT_RULES_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_UNIT_RULES_H_

#include <cstdint>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/parts/block_panel.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Owns the tables that its rules point to, so it stays where it was made.
class UnitRuleSet {
 public:
  // Of a scalar type: rules of no use.
  explicit UnitRuleSet(const BlockCodec& codec);
  UnitRuleSet(const UnitRuleSet&) = delete;
  UnitRuleSet& operator=(const UnitRuleSet&) = delete;

  const UnitRules& rules() const { return rules_; }
  // Whether units of the first n_rows lanes beginning at weight `first` of a
  // block are shifted down, as 0 or 1; [lanes].
  void Downs(const BlockPanel& panel, int64_t block, int first, int64_t n_rows,
             float* downs) const;

 private:
  UnitRules rules_;
  bool (*is_down_)(const BlockFields& fields, int first) = nullptr;
  std::vector<uint8_t> first_half_;
  std::vector<uint8_t> second_half_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_UNIT_RULES_H_
