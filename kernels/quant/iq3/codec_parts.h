// The parts of a BlockCodec for IQ3_XXS and IQ3_S that follow from their
// layouts, as templates on a type of layout.h.

#ifndef NARROW_KERNELS_QUANT_IQ3_CODEC_PARTS_H_
#define NARROW_KERNELS_QUANT_IQ3_CODEC_PARTS_H_

#include <cassert>
#include <cmath>
#include <cstdint>

#include "kernels/quant/codec.h"
#include "kernels/quant/iq3/fields.h"
#include "kernels/quant/iq3/layout.h"
#include "kernels/quant/iq3/nearest_point.h"
#include "kernels/quant/iq3/reference.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace iq3 {

inline const GridIndex& Index(IQ3_XXS) { return Iq3XxsIndex(); }
inline const GridIndex& Index(IQ3_S) { return Iq3SIndex(); }

// What a magnitude of 1 is worth in a group, in ggml's order of operations.
inline float UnitOf(IQ3_XXS, float d, int scale) {
  return d * (0.5f + static_cast<float>(scale)) * 0.5f;
}
inline float UnitOf(IQ3_S, float d, int scale) {
  return d * static_cast<float>(1 + 2 * scale);
}

inline float OddScale(int16_t stored) {
  return static_cast<float>(2 * stored + 1);
}

template <class Type>
void EncodeReference(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t col = 0; col < n_cols; col += kSuperBlock) {
      EncodeBlock(Type(), weights + row * n_cols + col,
                  importance != nullptr ? importance + col : nullptr, bytes);
      bytes += Type::kBytes;
    }
  }
}

template <class Type>
void FieldsToCodes(const Fields& fields, int8_t* codes) {
  const Grid& grid = *Index(Type()).grid;
  for (int i = 0; i < kSuperBlock; ++i) {
    const int point = fields.points[i / kPoint];
    const int magnitude =
        Type::kMagnitudes[grid.levels[kPoint * point + i % kPoint]];
    const bool minus = (fields.signs[i / 8] >> (i % 8)) & 1;
    codes[i] = static_cast<int8_t>(minus ? -magnitude : magnitude);
  }
}

template <class Type>
void DecodeReference(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t block = 0; block < n_blocks; ++block) {
    Fields fields;
    int8_t codes[kSuperBlock];
    UnpackFields(Type(), bytes, &fields);
    FieldsToCodes<Type>(fields, codes);
    const float d = FloatFromF16(fields.half);
    for (int i = 0; i < kSuperBlock; ++i) {
      weights[i] = UnitOf(Type(), d, fields.scales[i / kGroup]) *
                   static_cast<float>(codes[i]);
    }
    bytes += Type::kBytes;
    weights += kSuperBlock;
  }
}

template <class Type>
void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  Fields stored;
  UnpackFields(Type(), bytes, &stored);
  *fields = BlockFields();
  fields->d = FloatFromF16(stored.half);
  for (int g = 0; g < kGroups; ++g) {
    fields->scales[g] = stored.scales[g];
  }
  FieldsToCodes<Type>(stored, codes);
}

template <class Type>
void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  const GridIndex& index = Index(Type());
  Fields stored = {};
  stored.half = F16FromFloat(fields.d);
  for (int g = 0; g < kGroups; ++g) {
    stored.scales[g] = static_cast<uint8_t>(fields.scales[g]);
  }
  for (int p = 0; p < kPoints; ++p) {
    int number = 0;
    for (int i = 0; i < kPoint; ++i) {
      const int at = kPoint * p + i;
      const int magnitude = codes[at] < 0 ? -codes[at] : codes[at];
      int level = 0;
      while (Type::kMagnitudes[level] != magnitude) {
        ++level;
        assert(level < kLevels);
      }
      number |= level << (3 * i);
      stored.signs[at / 8] |=
          static_cast<uint8_t>((codes[at] < 0 ? 1 : 0) << (at % 8));
    }
    assert(index.entries[number] >= 0);
    stored.points[p] = static_cast<uint16_t>(index.entries[number]);
  }
  PackFields(Type(), stored, bytes);
}

template <class Type>
void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  Fields stored;
  // ggml's encoder lets it overflow.
  const float d =
      LegalHalf(FitFields(Type(), weights, column_weights, &stored));
  *fields = BlockFields();
  fields->d = d;
  for (int g = 0; g < kGroups; ++g) {
    fields->scales[g] = stored.scales[g];
  }
}

template <class Type>
void Round(const BlockFields& fields, int first, const float* target,
           const float* metric, int8_t* codes, float* values) {
  constexpr int kUnit = Type::kEvenSigns ? 8 : 4;
  const float unit = UnitOf(Type(), fields.d, fields.scales[first / kGroup]);
  const Grid& grid = *Index(Type()).grid;
  if (Type::kEvenSigns) {
    NearestPointPair(grid, Type::kMagnitudes, unit, target, metric, codes);
  } else {
    NearestPoint(grid, Type::kMagnitudes, unit, target, metric, codes);
  }
  for (int i = 0; i < kUnit; ++i) {
    values[i] = unit * static_cast<float>(codes[i]);
  }
}

template <class Type>
UnitPoints Points() {
  const Grid& grid = *Index(Type()).grid;
  UnitPoints points;
  points.dim = grid.dim;
  points.n_levels = grid.n_levels;
  points.n_points = grid.n_points;
  points.levels = grid.levels;
  points.signs =
      Type::kEvenSigns ? UnitPoints::Signs::kEven : UnitPoints::Signs::kFree;
  for (int level = 0; level < kLevels; ++level) {
    points.codes[level] = static_cast<int8_t>(Type::kMagnitudes[level]);
  }
  return points;
}

template <class Type>
bool IsFinite(const uint8_t* bytes) {
  return HalfIsFinite(bytes + Type::kHalfAt);
}

// The legal codes of `Type`, rising.
template <class Type>
struct CodeTable {
  int8_t codes[2 * kLevels];

  constexpr CodeTable() : codes() {
    for (int level = 0; level < kLevels; ++level) {
      codes[kLevels + level] = static_cast<int8_t>(Type::kMagnitudes[level]);
      codes[kLevels - 1 - level] =
          static_cast<int8_t>(-Type::kMagnitudes[level]);
    }
  }
};
template <class Type>
inline constexpr CodeTable<Type> kCodeTable;

template <class Type>
constexpr FieldRanges Ranges(float code_unit) {
  FieldRanges ranges = {};
  ranges.n_sub_blocks = kGroups;
  ranges.scale_high = kScaleHigh;
  ranges.code_low = -Type::kMagnitudes[kLevels - 1];
  ranges.code_high = Type::kMagnitudes[kLevels - 1];
  ranges.code_unit = code_unit;
  ranges.scale_value = OddScale;
  ranges.code_table = {kCodeTable<Type>.codes, 2 * kLevels};
  return ranges;
}

// The codec of `Type` with the given variants.
template <class Type>
constexpr BlockCodec MakeCodec(QuantType type, float code_unit,
                               float error_budget, EncodeRowsFn encode_avx2,
                               EncodeRowsFn encode_avx512, DecodeFn decode_avx2,
                               DecodeFn decode_avx512) {
  return {type,
          kSuperBlock,
          /*unit=*/Type::kEvenSigns ? 8 : 4,
          Ranges<Type>(code_unit),
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
          decode_avx512,
          /*requires_importance=*/false,
          Points<Type>};
}

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_CODEC_PARTS_H_
