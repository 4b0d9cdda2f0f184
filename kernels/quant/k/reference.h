// ggml's k-quant encoders in plain code, and the parts of a BlockCodec that
// follow from the tables of a type: what every other variant must equal.
//
// A type is a struct of super_block.h; FitAffine or FitSymmetric chooses its
// scales (reference_affine.cc, reference_symmetric.cc), PackScales and
// PackCodes place the fields. Tested by codec_test (all types) and by
// k_quants_test.

#ifndef NARROW_KERNELS_QUANT_K_REFERENCE_H_
#define NARROW_KERNELS_QUANT_K_REFERENCE_H_

#include <cmath>
#include <cstdint>

#include "kernels/quant/codec.h"
#include "kernels/quant/k/code_planes.h"
#include "kernels/quant/k/scale_search.h"
#include "kernels/quant/k/sub_scales.h"
#include "kernels/quant/k/super_block.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace k_quants {

// The range of codes, as in BlockFields' formula, and what is added to store
// one. An overload for each type.
struct CodeRange {
  int low, high;
  int stored_offset;
};
template <class Type>
constexpr auto Codes(Type) -> decltype(Type::kCodeHigh, CodeRange()) {
  return {0, Type::kCodeHigh, 0};
}
template <class Type>
constexpr auto Codes(Type) -> decltype(Type::kCodeHalf, CodeRange()) {
  return {-Type::kCodeHalf, Type::kCodeHalf - 1, Type::kCodeHalf};
}

// Scales for one super-block as packed by PackScales, and the codes with
// which the search ended, which ggml stores where a stored scale is zero.
// `importance` may be nullptr.
SubScales FitScales(Q2_K, const float* x, const float* importance,
                    int8_t* codes);
SubScales FitScales(Q3_K, const float* x, const float* importance,
                    int8_t* codes);
SubScales FitScales(Q4_K, const float* x, const float* importance,
                    int8_t* codes);
SubScales FitScales(Q5_K, const float* x, const float* importance,
                    int8_t* codes);
SubScales FitScales(Q6_K, const float* x, const float* importance,
                    int8_t* codes);

template <class Type>
void PackSigned(const int8_t* codes, uint8_t* bytes) {
  uint8_t stored[kSuperBlock];
  for (int i = 0; i < kSuperBlock; ++i) {
    stored[i] = static_cast<uint8_t>(codes[i] + Codes(Type()).stored_offset);
  }
  PackCodes(Type(), stored, bytes);
}

template <class Type>
void UnpackSigned(const uint8_t* bytes, int8_t* codes) {
  uint8_t stored[kSuperBlock];
  UnpackCodes(Type(), bytes, stored);
  for (int i = 0; i < kSuperBlock; ++i) {
    codes[i] = static_cast<int8_t>(stored[i] - Codes(Type()).stored_offset);
  }
}

template <class Type>
void EncodeBlock(const float* x, const float* importance, uint8_t* bytes) {
  int8_t codes[kSuperBlock];
  PackScales(Type(), FitScales(Type(), x, importance, codes), bytes);
  SubScales stored = {};
  UnpackScales(Type(), bytes, &stored);
  constexpr CodeRange kRange = Codes(Type());
  for (int i = 0; i < kSuperBlock; ++i) {
    const int g = i / Type::kSubBlock;
    const float scale = stored.d * static_cast<float>(stored.scales[g]);
    if (scale == 0) {
      continue;
    }
    const float low = stored.dmin * static_cast<float>(stored.mins[g]);
    codes[i] = static_cast<int8_t>(
        Bounded(RoundToInt((x[i] + low) / scale), kRange.low, kRange.high));
  }
  PackSigned<Type>(codes, bytes);
}

template <class Type>
void EncodeReference(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t col = 0; col < n_cols; col += kSuperBlock) {
      EncodeBlock<Type>(weights + row * n_cols + col,
                        importance != nullptr ? importance + col : nullptr,
                        bytes);
      bytes += Type::kBytes;
    }
  }
}

template <class Type>
void DecodeReference(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t block = 0; block < n_blocks; ++block) {
    SubScales stored = {};
    int8_t codes[kSuperBlock];
    UnpackScales(Type(), bytes, &stored);
    UnpackSigned<Type>(bytes, codes);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int g = i / Type::kSubBlock;
      const float scale = stored.d * static_cast<float>(stored.scales[g]);
      weights[i] = scale * static_cast<float>(codes[i]);
      if constexpr (Codes(Type()).low == 0) {
        weights[i] -= stored.dmin * static_cast<float>(stored.mins[g]);
      }
    }
    bytes += Type::kBytes;
    weights += kSuperBlock;
  }
}

template <class Type>
void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  SubScales stored = {};
  UnpackScales(Type(), bytes, &stored);
  *fields = BlockFields();
  fields->d = stored.d;
  fields->dmin = stored.dmin;
  for (int g = 0; g < kSuperBlock / Type::kSubBlock; ++g) {
    fields->scales[g] = static_cast<int16_t>(stored.scales[g]);
    fields->mins[g] = static_cast<int16_t>(stored.mins[g]);
  }
  UnpackSigned<Type>(bytes, codes);
}

template <class Type>
void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  SubScales stored = {};
  stored.d = fields.d;
  stored.dmin = fields.dmin;
  for (int g = 0; g < kSuperBlock / Type::kSubBlock; ++g) {
    stored.scales[g] = fields.scales[g];
    stored.mins[g] = fields.mins[g];
  }
  PackScales(Type(), stored, bytes);
  PackSigned<Type>(codes, bytes);
}

template <class Type>
void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  int8_t codes[kSuperBlock];
  SubScales scales = FitScales(Type(), weights, column_weights, codes);
  // ggml's encoder lets them overflow.
  scales.d = LegalHalf(scales.d);
  scales.dmin = LegalHalf(scales.dmin);
  // Through the bytes, so that the fields are what a reader will see.
  uint8_t bytes[Type::kBytes] = {};
  PackScales(Type(), scales, bytes);
  Unpack<Type>(bytes, fields, codes);
}

template <class Type>
void Round(const BlockFields& fields, int first, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  constexpr CodeRange kRange = Codes(Type());
  const int g = first / Type::kSubBlock;
  const float scale = fields.d * static_cast<float>(fields.scales[g]);
  const float low = fields.dmin * static_cast<float>(fields.mins[g]);
  int code = 0;
  if (scale != 0) {
    // Bounded before it is rounded: unlike an encoder's weights, a solver's
    // targets may lie anywhere.
    const float quotient = (*target + low) / scale;
    code = quotient <= kRange.low ? kRange.low
           : quotient >= kRange.high
               ? kRange.high
               : (quotient == quotient ? RoundToInt(quotient) : 0);
  }
  *codes = static_cast<int8_t>(code);
  *values = scale * static_cast<float>(code);
  if constexpr (kRange.low == 0) {
    *values -= low;
  }
}

template <class Type>
bool IsFinite(const uint8_t* bytes) {
  SubScales stored = {};
  UnpackScales(Type(), bytes, &stored);
  return std::isfinite(stored.d) && std::isfinite(stored.dmin);
}

template <class Type>
constexpr FieldRanges Ranges() {
  constexpr CodeRange kRange = Codes(Type());
  FieldRanges ranges = {};
  ranges.n_sub_blocks = kSuperBlock / Type::kSubBlock;
  ranges.scale_high = Type::kScaleHigh;
  if constexpr (kRange.low == 0) {
    ranges.min_high = Type::kScaleHigh;
    ranges.has_dmin = true;
  } else {
    ranges.scale_low = Type::kScaleLow;
  }
  ranges.code_low = kRange.low;
  ranges.code_high = kRange.high;
  return ranges;
}

// The codec of `Type` with the given variants.
template <class Type>
constexpr BlockCodec MakeCodec(QuantType type, float error_budget,
                               EncodeRowsFn encode_avx2,
                               EncodeRowsFn encode_avx512, DecodeFn decode_avx2,
                               DecodeFn decode_avx512) {
  return {type,
          kSuperBlock,
          /*unit=*/1,
          Ranges<Type>(),
          /*uses_importance=*/true,
          error_budget,
          Fit<Type>,
          Round<Type>,
          Pack<Type>,
          Unpack<Type>,
          IsFinite<Type>,
          EncodeReference<Type>,
          encode_avx2,
          encode_avx512,
          DecodeReference<Type>,
          decode_avx2,
          decode_avx512};
}

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_REFERENCE_H_
