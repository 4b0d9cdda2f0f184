// The plain number types as codecs of one weight a block, so that one path
// serves every type: d is the number as the type holds it, the code is 1.
//
// Little-endian. F32 and F64 keep bit patterns and values; F16 and BF16 round
// to nearest, ties to even, overflow to infinity. F64 is for sources alone:
// encoding widens.

#include <cmath>
#include <cstring>

#include "formats/base/float16.h"
#include "kernels/quant/codec_variants.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace {

// One number to and from its bytes, and the largest that is finite.
struct F32 {
  using Stored = float;
  static constexpr float kMax = 3.40282347e+38f;
  static Stored FromFloat(float value) { return value; }
  static float ToFloat(Stored stored) { return stored; }
};

struct F64 {
  using Stored = double;
  static constexpr float kMax = 3.40282347e+38f;
  static Stored FromFloat(float value) { return value; }
  static float ToFloat(Stored stored) { return static_cast<float>(stored); }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr float kMax = kMaxHalf;
  static Stored FromFloat(float value) { return F16FromFloat(value); }
  static float ToFloat(Stored stored) { return FloatFromF16(stored); }
};

struct BF16 {
  using Stored = uint16_t;
  static constexpr float kMax = 0x1.fep127f;
  static Stored FromFloat(float value) { return Bf16FromFloat(value); }
  static float ToFloat(Stored stored) { return FloatFromBf16(stored); }
};

constexpr FieldRanges kRanges = {1, 1, 1, 0, 0, false, 1, 1};

template <typename Number>
struct Plain {
  using Stored = typename Number::Stored;

  static void Fit(const float* weights, const float* /*column_weights*/,
                  BlockFields* fields) {
    const float value = std::isnan(*weights) ? 0.0f : *weights;
    const float clamped =
        std::fmin(std::fmax(value, -Number::kMax), Number::kMax);
    *fields = BlockFields();
    fields->d = Number::ToFloat(Number::FromFloat(clamped));
    fields->scales[0] = 1;
  }

  static void Round(const BlockFields& fields, int /*first*/,
                    const float* /*target*/, const float* /*metric*/,
                    int8_t* codes, float* values) {
    *codes = 1;
    *values = fields.d;
  }

  static void Pack(const BlockFields& fields, const int8_t* /*codes*/,
                   uint8_t* bytes) {
    Encode(&fields.d, 1, 1, nullptr, bytes);
  }

  static void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
    *fields = BlockFields();
    Decode(bytes, 1, &fields->d);
    fields->scales[0] = 1;
    *codes = 1;
  }

  static bool IsFinite(const uint8_t* bytes) {
    Stored stored;
    std::memcpy(&stored, bytes, sizeof(stored));
    return std::isfinite(Number::ToFloat(stored));
  }

  static void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* /*importance*/, uint8_t* bytes) {
    for (int64_t i = 0; i < n_rows * n_cols; ++i) {
      const Stored stored = Number::FromFloat(weights[i]);
      std::memcpy(bytes + i * sizeof(stored), &stored, sizeof(stored));
    }
  }

  static void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
    for (int64_t i = 0; i < n_blocks; ++i) {
      Stored stored;
      std::memcpy(&stored, bytes + i * sizeof(stored), sizeof(stored));
      weights[i] = Number::ToFloat(stored);
    }
  }
};

template <typename Number>
constexpr BlockCodec MakeCodec(QuantType type, float error_budget,
                               EncodeRowsFn encode_avx2,
                               EncodeRowsFn encode_avx512, DecodeFn decode_avx2,
                               DecodeFn decode_avx512) {
  using Definition = Plain<Number>;
  return {type,
          /*block=*/1,
          /*unit=*/1,
          kRanges,
          /*uses_importance=*/false,
          error_budget,
          &Definition::Fit,
          &Definition::Round,
          &Definition::Pack,
          &Definition::Unpack,
          &Definition::IsFinite,
          &Definition::Encode,
          encode_avx2,
          encode_avx512,
          &Definition::Decode,
          decode_avx2,
          decode_avx512};
}

}  // namespace

// Budgets: a relative error of at most half the last bit is at most
// 2^-p / sqrt(3) in the mean, p = 11 and 8 bits of precision.
const BlockCodec kF32Codec =
    MakeCodec<F32>(QuantType::kF32, 0.0f, &avx2::EncodeF32, &avx512::EncodeF32,
                   &avx2::DecodeF32, &avx512::DecodeF32);
const BlockCodec kF16Codec =
    MakeCodec<F16>(QuantType::kF16, 0.00028f, &avx2::EncodeF16,
                   &avx512::EncodeF16, &avx2::DecodeF16, &avx512::DecodeF16);
const BlockCodec kBF16Codec = MakeCodec<BF16>(
    QuantType::kBF16, 0.0023f, &avx2::EncodeBF16, &avx512::EncodeBF16,
    &avx2::DecodeBF16, &avx512::DecodeBF16);
const BlockCodec kF64Codec =
    MakeCodec<F64>(QuantType::kF64, 0.0f, &avx2::EncodeF64, &avx512::EncodeF64,
                   &avx2::DecodeF64, &avx512::DecodeF64);

}  // namespace narrow
