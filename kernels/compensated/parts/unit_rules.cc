#include "kernels/compensated/parts/unit_rules.h"

namespace narrow {
namespace {

// Levels of `n` coordinates as a number, the first one lowest.
uint8_t NumberOf(const uint8_t* levels, int n, int n_levels) {
  int number = 0;
  for (int i = n - 1; i >= 0; --i) {
    number = number * n_levels + levels[i];
  }
  return static_cast<uint8_t>(number);
}

}  // namespace

UnitRuleSet::UnitRuleSet(const BlockCodec& codec) {
  if (codec.unit == 1) {
    return;
  }
  const UnitPoints points = codec.unit_points();
  using Signs = UnitPoints::Signs;
  rules_.unit = codec.unit;
  rules_.dim = points.dim;
  rules_.n_levels = points.n_levels;
  rules_.n_points = points.n_points;
  rules_.levels = points.levels;
  rules_.signs = points.signs == Signs::kFree   ? UnitRules::Signs::kFree
                 : points.signs == Signs::kEven ? UnitRules::Signs::kEven
                                                : UnitRules::Signs::kNone;
  for (int level = 0; level < points.n_levels; ++level) {
    rules_.codes[level] = points.codes[level];
    rules_.down_codes[level] = points.down_codes[level];
  }
  is_down_ = points.is_down;
  const int half = points.dim / 2;
  for (int p = 0; p < points.n_points; ++p) {
    const uint8_t* levels = points.levels + p * points.dim;
    first_half_.push_back(NumberOf(levels, half, points.n_levels));
    second_half_.push_back(NumberOf(levels + half, half, points.n_levels));
  }
  rules_.first_half = first_half_.data();
  rules_.second_half = second_half_.data();
}

void UnitRuleSet::Downs(const BlockPanel& panel, int64_t block, int first,
                        int64_t n_rows, float* downs) const {
  for (int64_t lane = 0; lane < panel.lanes(); ++lane) {
    downs[lane] = lane < n_rows && is_down_ != nullptr &&
                          is_down_(panel.FieldsOf(block, lane), first)
                      ? 1.0f
                      : 0.0f;
  }
}

}  // namespace narrow
