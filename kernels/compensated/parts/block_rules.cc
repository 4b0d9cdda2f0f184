#include "kernels/compensated/parts/block_rules.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>

namespace narrow {

BlockRuleSet::BlockRuleSet(const BlockCodec& codec) {
  assert(codec.block > 1);
  const FieldRanges& ranges = codec.ranges;
  rules_.block = codec.block;
  rules_.n_sub = ranges.n_sub_blocks;
  rules_.sub = codec.block / ranges.n_sub_blocks;
  rules_.code_unit = ranges.code_unit;
  SetCodes(ranges);
  SetScales(ranges);
  // Without dmin, mins may be of another kind (IQ1's shifts): those stay.
  rules_.has_minima = ranges.has_dmin;
  rules_.fixed_minima = ranges.min_low == ranges.min_high;
  rules_.min_low = ranges.min_low;
  rules_.min_high = ranges.min_high;
  rules_.unit = ranges.unit_kind == UnitKind::kHalf ? BlockRules::Unit::kHalf
                : ranges.unit_kind == UnitKind::kPowerOfTwo
                    ? BlockRules::Unit::kPowerOfTwo
                    : BlockRules::Unit::kOne;
}

void BlockRuleSet::SetCodes(const FieldRanges& ranges) {
  rules_.code_low = ranges.code_low;
  rules_.code_high = ranges.code_high;
  rules_.has_table = !ranges.code_table.empty();
  if (!rules_.has_table) {
    return;
  }
  const size_t n = ranges.code_table.size();
  assert(n <= 16);
  for (size_t i = 0; i < 16; ++i) {
    rules_.level[i] = ranges.code_table[std::min(i, n - 1)];
  }
  for (size_t i = 0; i < 15; ++i) {
    rules_.above[i] =
        i + 1 < n ? 0.5f * (rules_.level[i] + rules_.level[i + 1]) : INFINITY;
  }
}

void BlockRuleSet::SetScales(const FieldRanges& ranges) {
  rules_.fixed_scales = ranges.scale_low == ranges.scale_high;
  rules_.scale_low = ranges.scale_low;
  rules_.scale_high = ranges.scale_high;
  for (int stored = ranges.scale_low; stored <= ranges.scale_high; ++stored) {
    scale_values_.push_back(ranges.Scale(static_cast<int16_t>(stored)));
  }
  const float first = scale_values_.front();
  const float step = scale_values_.size() > 1 ? scale_values_[1] - first : 1.0f;
  rules_.scale_times = step;
  rules_.scale_plus = first - step * rules_.scale_low;
  for (size_t i = 0; i < scale_values_.size(); ++i) {
    const float stored = rules_.scale_low + static_cast<float>(i);
    if (stored * rules_.scale_times + rules_.scale_plus != scale_values_[i]) {
      rules_.scale_values = scale_values_.data();
    }
  }
}

}  // namespace narrow
