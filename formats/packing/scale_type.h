// The number types of scales: F32, F16, BF16, F8_E4M3, F8_E8M0, read, written
// and rounded to.
//
//   scale = RoundToScaleType(QuantType::kF16, scale);
//   AppendScales(QuantType::kF16, scales, &bytes);
//   DecodeScales(QuantType::kF16, bytes, n, values);
//
// U8 planes may hold E8M0 (compressed-tensors): the caller knows. Pure.

#ifndef NARROW_FORMATS_PACKING_SCALE_TYPE_H_
#define NARROW_FORMATS_PACKING_SCALE_TYPE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "formats/quant_type.h"

namespace narrow {

bool IsScaleType(QuantType type);

// `value` as `type` stores it: nearest, ties to even (E8M0: the nearest power
// of two by logarithm; NaN for what is not positive). F16 and BF16 may
// overflow to infinity, E4M3 saturates. REQUIRES: IsScaleType(type).
float RoundToScaleType(QuantType type, float value);

// REQUIRES: IsScaleType(type).
void AppendScales(QuantType type, absl::Span<const float> values,
                  std::vector<uint8_t>* bytes);
void DecodeScales(QuantType type, const uint8_t* bytes, int64_t n, float* out);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_SCALE_TYPE_H_
