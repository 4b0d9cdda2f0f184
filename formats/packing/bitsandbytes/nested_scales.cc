#include "formats/packing/bitsandbytes/nested_scales.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace narrow {
namespace {

constexpr float kDynamicMap[256] = {
#include "formats/packing/bitsandbytes/dynamic_map.inc"
};

// Between each code and the next.
std::array<float, 255> Middles() {
  std::array<float, 255> middles;
  for (size_t i = 0; i < middles.size(); ++i) {
    middles[i] = (kDynamicMap[i] + kDynamicMap[i + 1]) / 2;
  }
  return middles;
}

}  // namespace

absl::Span<const float> DynamicMap() { return kDynamicMap; }

NestedScales NestScales(absl::Span<const float> scales) {
  static const std::array<float, 255> middles = Middles();
  NestedScales nested;
  double sum = 0;
  for (const float scale : scales) {
    sum += static_cast<double>(scale);
  }
  if (!scales.empty()) {
    nested.offset =
        static_cast<float>(sum / static_cast<double>(scales.size()));
  }
  nested.codes.reserve(scales.size());
  constexpr size_t kBlock = static_cast<size_t>(kNestedBlock);
  for (size_t first = 0; first < scales.size(); first += kBlock) {
    const absl::Span<const float> block = scales.subspan(first, kBlock);
    float absmax = 0;
    for (const float scale : block) {
      absmax = std::max(absmax, std::fabs(scale - nested.offset));
    }
    nested.absmax.push_back(absmax);
    // Scales that are all alike leave nothing to multiply.
    const float inverse = 1 / std::max(absmax, 1e-38f);
    for (const float scale : block) {
      const float value =
          std::min(std::max((scale - nested.offset) * inverse, -1.0f), 1.0f);
      nested.codes.push_back(static_cast<uint8_t>(
          std::lower_bound(middles.begin(), middles.end(), value) -
          middles.begin()));
    }
  }
  return nested;
}

std::vector<float> UnnestScales(const NestedScales& nested,
                                absl::Span<const float> table, int64_t block) {
  assert(table.size() == 256);
  std::vector<float> scales(nested.codes.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    const float product =
        table[nested.codes[i]] * nested.absmax[i / static_cast<size_t>(block)];
    scales[i] = product + nested.offset;
  }
  return scales;
}

}  // namespace narrow
