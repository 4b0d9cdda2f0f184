#include "formats/packing/scale_type.h"

#include <cassert>
#include <cstring>

#include "formats/base/float16.h"
#include "formats/base/float8.h"

namespace narrow {
namespace {

float Decode(QuantType type, const uint8_t* bytes) {
  uint16_t half;
  float value;
  switch (type) {
    case QuantType::kF16:
      std::memcpy(&half, bytes, sizeof(half));
      return FloatFromF16(half);
    case QuantType::kBF16:
      std::memcpy(&half, bytes, sizeof(half));
      return FloatFromBf16(half);
    case QuantType::kF8E4M3:
      return FloatFromE4M3(*bytes);
    case QuantType::kF8E8M0:
      return FloatFromE8M0(*bytes);
    default:
      assert(type == QuantType::kF32);
      std::memcpy(&value, bytes, sizeof(value));
      return value;
  }
}

void Encode(QuantType type, float value, uint8_t* bytes) {
  uint16_t half;
  switch (type) {
    case QuantType::kF16:
      half = F16FromFloat(value);
      std::memcpy(bytes, &half, sizeof(half));
      return;
    case QuantType::kBF16:
      half = Bf16FromFloat(value);
      std::memcpy(bytes, &half, sizeof(half));
      return;
    case QuantType::kF8E4M3:
      *bytes = E4M3FromFloat(value);
      return;
    case QuantType::kF8E8M0:
      *bytes = E8M0FromFloat(value);
      return;
    default:
      assert(type == QuantType::kF32);
      std::memcpy(bytes, &value, sizeof(value));
  }
}

}  // namespace

bool IsScaleType(QuantType type) {
  return type == QuantType::kF32 || type == QuantType::kF16 ||
         type == QuantType::kBF16 || type == QuantType::kF8E4M3 ||
         type == QuantType::kF8E8M0;
}

float RoundToScaleType(QuantType type, float value) {
  uint8_t bytes[4];
  Encode(type, value, bytes);
  return Decode(type, bytes);
}

void AppendScales(QuantType type, absl::Span<const float> values,
                  std::vector<uint8_t>* bytes) {
  const size_t step = static_cast<size_t>(Geometry(type).block_bytes);
  size_t at = bytes->size();
  bytes->resize(at + values.size() * step);
  for (const float value : values) {
    Encode(type, value, bytes->data() + at);
    at += step;
  }
}

void DecodeScales(QuantType type, const uint8_t* bytes, int64_t n, float* out) {
  const int64_t step = Geometry(type).block_bytes;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = Decode(type, bytes + i * step);
  }
}

}  // namespace narrow
