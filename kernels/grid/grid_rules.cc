#include "kernels/grid/grid_rules.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace narrow {
namespace {

struct ScaleRange {
  GridScale kind;
  float low;  // positive: a scale of 0 says nothing
  float high;
};

ScaleRange RangeOf(QuantType type) {
  switch (type) {
    case QuantType::kF16:
      return {GridScale::kF16, 0x1p-24f, 65504.0f};
    case QuantType::kBF16:
      // The least normal number: processors may take smaller ones for 0.
      return {GridScale::kBF16, 0x1p-126f, 0x1.fep127f};
    case QuantType::kF8E4M3:
      return {GridScale::kE4M3, 0x1p-9f, 448.0f};
    case QuantType::kF8E8M0:
      return {GridScale::kE8M0, 0x1p-126f, 0x1p127f};
    default:
      assert(type == QuantType::kF32);
      return {GridScale::kF32, 0x1p-126f, std::numeric_limits<float>::max()};
  }
}

bool SignedScales(const GridSpec& spec) {
  return spec.signed_scales && spec.code == CodeKind::kInteger &&
         spec.zero == ZeroKind::kNone &&
         (spec.scale_type == QuantType::kF16 ||
          spec.scale_type == QuantType::kBF16 ||
          spec.scale_type == QuantType::kF32);
}

// Distinct levels of a table of 16 codes, in rising order; of two codes for
// one level the lower (0 and not -0).
void FillLevels(CodeKind kind, GridRules* rules) {
  std::vector<std::pair<float, int32_t>> levels;
  for (int32_t code = 0; code < 16; ++code) {
    const float value = rules->table[code];
    const bool known = std::any_of(
        levels.begin(), levels.end(),
        [value](const auto& other) { return other.first == value; });
    if (!known) {
      levels.emplace_back(value, code);
    }
  }
  std::sort(levels.begin(), levels.end());
  const size_t n = levels.size();
  for (size_t i = 0; i < 16; ++i) {
    rules->level[i] = levels[std::min(i, n - 1)].first;
    rules->code[i] = levels[std::min(i, n - 1)].second;
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < 15; ++i) {
    if (i + 1 >= n) {
      rules->above[i] = kInfinity;
      continue;
    }
    const float middle = (rules->level[i] + rules->level[i + 1]) / 2;
    // Ties: bitsandbytes' tables take the lower level, E2M1 the even code.
    const bool tie_rises =
        kind == CodeKind::kE2M1 && rules->code[i + 1] % 2 == 0;
    rules->above[i] = tie_rises ? std::nextafter(middle, -kInfinity) : middle;
  }
  rules->highest_level = rules->level[15];
}

// Of kLeastSquares: least squares find what lies between.
constexpr int kRatioStride = 5;
constexpr int kRefits = 2;
constexpr int kPolishes = 2;

// Ends of ranges with zeros that do not shrink alike.
constexpr float kEnds[] = {1.0f, 0.8f, 0.6f, 0.45f};

// E4M3 has eight numbers an octave.
constexpr int kE4M3Below = 6;
constexpr int kE4M3Above = 7;
constexpr int kE8M0Below = 2;
constexpr int kE8M0Above = 1;

// Of E4M3 codes: the octave above the peers' scale and a little below.
constexpr float kE4M3Factors[] = {0.85f, 0.9f,  0.95f, 1.05f, 1.1f,  1.15f,
                                  1.21f, 1.27f, 1.34f, 1.41f, 1.49f, 1.57f,
                                  1.66f, 1.75f, 1.85f, 1.95f};
// Of tables of 16 levels, under which the largest weight need not be the
// highest level.
constexpr float kTableFactors[] = {1.05f, 1.1f, 1.16f, 1.24f, 1.34f};

// The whole range times 1 - i / n_steps.
void AddShrunk(const FitOptions& options, int stride,
               std::vector<FitStart>* starts) {
  const int n_steps = std::max(options.n_steps, 1);
  const int n =
      static_cast<int>(options.max_shrink * static_cast<float>(n_steps));
  for (int i = stride; i < std::min(n, n_steps); i += stride) {
    const float ratio =
        1.0f - static_cast<float>(i) / static_cast<float>(n_steps);
    starts->push_back({ratio, ratio, 0});
  }
}

void AddNeighbours(int below, int above, std::vector<FitStart>* starts) {
  for (int steps = -below; steps <= above; ++steps) {
    if (steps != 0) {
      starts->push_back({1, 1, steps});
    }
  }
}

// Where kLeastSquares begins, and how often it goes on from there. Scales
// that are bytes are all tried, so nothing is left for least squares.
void AddStarts(const GridSpec& spec, const FitOptions& options, FitPlan* plan,
               std::vector<FitStart>* starts) {
  const bool has_zeros = spec.zero != ZeroKind::kNone;
  if (!has_zeros && spec.scale_type == QuantType::kF8E8M0) {
    AddNeighbours(kE8M0Below, kE8M0Above, starts);
    return;
  }
  if (!has_zeros && spec.scale_type == QuantType::kF8E4M3) {
    AddNeighbours(kE4M3Below, kE4M3Above, starts);
    return;
  }
  plan->n_refits = kRefits;
  plan->n_polishes = kPolishes;
  if (spec.code == CodeKind::kE4M3) {
    for (const float factor : kE4M3Factors) {
      starts->push_back({factor, factor, 0});
    }
    return;
  }
  AddShrunk(options, kRatioStride, starts);
  if (spec.code != CodeKind::kInteger) {
    for (const float factor : kTableFactors) {
      starts->push_back({factor, factor, 0});
    }
  }
  for (const float low : kEnds) {
    for (const float high : kEnds) {
      if (has_zeros && low != high) {
        starts->push_back({low, high, 0});
      }
    }
  }
  // The same ranges, turned round.
  for (size_t i = 0, n = starts->size(); SignedScales(spec) && i < n; ++i) {
    starts->push_back({-(*starts)[i].low, -(*starts)[i].high, 0});
  }
}

}  // namespace

GridRules MakeGridRules(const GridSpec& spec) {
  GridRules rules;
  const ScaleRange range = RangeOf(spec.scale_type);
  rules.scale = range.kind;
  rules.scale_low = range.low;
  rules.scale_high = range.high;
  rules.scale_unit = spec.scale_unit;
  rules.global_scale = spec.global_scale;
  switch (spec.code) {
    case CodeKind::kInteger:
      assert(spec.bits >= 1 && spec.bits <= 8);
      rules.rounding = spec.zero == ZeroKind::kFloat ? GridRounding::kFloatZero
                                                     : GridRounding::kInteger;
      rules.has_zeros = spec.zero != ZeroKind::kNone;
      rules.code_low = static_cast<float>(spec.code_low);
      rules.code_high = static_cast<float>((1 << spec.bits) - 1);
      rules.zero_low = static_cast<float>(spec.zero_low);
      rules.zero_high = rules.code_high;
      rules.signed_scales = SignedScales(spec);
      rules.fixed_zero = static_cast<float>(1 << (spec.bits - 1));
      break;
    case CodeKind::kE4M3:
      rules.rounding = GridRounding::kE4M3;
      rules.table = CodeTable(spec.code);
      rules.highest_level = 448;
      break;
    case CodeKind::kE2M1:
    case CodeKind::kNf4:
    case CodeKind::kFp4:
      rules.rounding = GridRounding::kLevels;
      rules.table = CodeTable(spec.code);
      FillLevels(spec.code, &rules);
      break;
  }
  return rules;
}

FitPlan MakeFitPlan(const GridSpec& spec, const FitOptions& options,
                    std::vector<FitStart>* starts) {
  FitPlan plan;
  starts->assign(1, FitStart{});
  if (options.search == FitOptions::Search::kShrink) {
    plan.power = options.power;
    AddShrunk(options, 1, starts);
  } else if (options.search == FitOptions::Search::kLeastSquares) {
    AddStarts(spec, options, &plan, starts);
  }
  plan.starts = starts->data();
  plan.n_starts = static_cast<int>(starts->size());
  const float n_codes = static_cast<float>(1 << spec.bits);
  const bool restricted =
      options.symmetric == FitOptions::Symmetric::kRestricted && spec.bits > 1;
  plan.half_range = restricted ? n_codes / 2 - 1 : (n_codes - 1) / 2;
  return plan;
}

}  // namespace narrow
