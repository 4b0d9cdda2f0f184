// bitsandbytes' double quantization: the scales of a matrix as 8-bit codes
// under a scale for every 256 of them, about their mean.
//
//   NestedScales nested = NestScales(matrix.scales);
//   std::vector<float> scales = UnnestScales(nested, table);   // as decoded
//
//   scale[i] = table[code[i]] * absmax[i / 256] + offset
//
// in float32, in this order. Source: Dettmers et al., "QLoRA" (2023), section
// 3, "Double Quantization"; the table is the signed "dynamic" map of Dettmers,
// "8-Bit Approximations for Parallelism in Deep Learning" (2016).
//
// Deviations: the mean is summed in double, so it does not depend on the width
// of vectors (bitsandbytes' float32 mean may differ in its last bit); a code
// is the nearest entry, the lower one at a middle (bitsandbytes' CPU library
// looks codes up by the top bits of a value, and takes the second nearest for
// about one in a thousand that lie close to a middle). Tested by
// nested_scales_test.cc and by the library's own results in packing_test.cc.

#ifndef NARROW_FORMATS_PACKING_BITSANDBYTES_NESTED_SCALES_H_
#define NARROW_FORMATS_PACKING_BITSANDBYTES_NESTED_SCALES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace narrow {

constexpr int64_t kNestedBlock = 256;

struct NestedScales {
  std::vector<uint8_t> codes;  // one a scale
  std::vector<float> absmax;   // one for every kNestedBlock of them
  float offset = 0;
};

// The dynamic map, 256 values, ascending.
absl::Span<const float> DynamicMap();

// REQUIRES: finite scales.
NestedScales NestScales(absl::Span<const float> scales);
// What a client computes with `table` of 256 and blocks of `block` scales.
std::vector<float> UnnestScales(const NestedScales& nested,
                                absl::Span<const float> table,
                                int64_t block = kNestedBlock);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_BITSANDBYTES_NESTED_SCALES_H_
