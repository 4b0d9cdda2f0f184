// The parts of a BlockCodec that IQ1_S and IQ1_M share, from a type's
// StoreGroups and LoadGroups, which place the fields.

#ifndef NARROW_KERNELS_QUANT_IQ1_CODEC_PARTS_H_
#define NARROW_KERNELS_QUANT_IQ1_CODEC_PARTS_H_

#include <cassert>
#include <cmath>
#include <cstdint>

#include "kernels/quant/codec.h"
#include "kernels/quant/iq1/fields.h"
#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/nearest_point.h"
#include "kernels/quant/iq1/plain_calls.h"
#include "kernels/quant/iq1/reference.h"
#include "kernels/quant/lattice/grid.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace iq1 {

// All codes of both directions, rising.
inline constexpr int8_t kCodes[] = {-9, -7, -1, 1, 7, 9};

inline float ScaleValue(int16_t stored) {
  return static_cast<float>(2 * stored + 1);
}

// Whether a weight of the block, of a group with this shift, is shifted down.
template <class Type>
bool IsDownAt(int shift, int weight) {
  return Type::IsDown(shift, weight % Type::kGroup / kOctet);
}

template <class Type>
void EncodeReference(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t col = 0; col < n_cols; col += kBlock) {
      EncodePlainly(Type(), weights + row * n_cols + col,
                    importance != nullptr ? importance + col : nullptr, bytes);
      bytes += Type::kBytes;
    }
  }
}

template <class Type>
void DecodeReference(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  const uint8_t* levels = Iq1Grid().levels;
  for (int64_t block = 0; block < n_blocks; ++block) {
    Groups groups;
    LoadGroups(Type(), bytes, &groups);
    for (int i = 0; i < kBlock; ++i) {
      const int g = i / Type::kGroup;
      const float scale =
          groups.d * ScaleValue(static_cast<int16_t>(groups.scales[g]));
      const int level = levels[kOctet * groups.points[i / kOctet] + i % kOctet];
      weights[i] =
          scale * (IsDownAt<Type>(groups.shifts[g], i) ? kDown : kUp)[level];
    }
    bytes += Type::kBytes;
    weights += kBlock;
  }
}

template <class Type>
void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  Groups groups;
  LoadGroups(Type(), bytes, &groups);
  *fields = BlockFields();
  fields->d = groups.d;
  for (int g = 0; g < kBlock / Type::kGroup; ++g) {
    fields->scales[g] = static_cast<int16_t>(groups.scales[g]);
    fields->mins[g] = static_cast<int16_t>(groups.shifts[g]);
  }
  const uint8_t* levels = Iq1Grid().levels;
  for (int i = 0; i < kBlock; ++i) {
    const bool down = IsDownAt<Type>(groups.shifts[i / Type::kGroup], i);
    const int level = levels[kOctet * groups.points[i / kOctet] + i % kOctet];
    codes[i] = (down ? kDownCodes : kUpCodes)[level];
  }
}

template <class Type>
void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  Groups groups = Groups();
  groups.d = fields.d;
  for (int g = 0; g < kBlock / Type::kGroup; ++g) {
    groups.scales[g] = fields.scales[g];
    groups.shifts[g] = fields.mins[g];
  }
  for (int o = 0; o < kOctets; ++o) {
    int number = 0;
    for (int i = kOctet - 1; i >= 0; --i) {
      // -9, -7: level 0; -1, 1: level 1; 7, 9: level 2.
      number = 3 * number + (codes[o * kOctet + i] + 12) / 8;
    }
    const int32_t point = Iq1Index().entries[number];
    assert(point >= 0);
    groups.points[o] = static_cast<uint16_t>(point);
  }
  StoreGroups(Type(), groups, bytes);
}

template <class Type>
void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  Groups groups;
  FitGroups(Type(), weights, column_weights, &groups);
  // ggml's encoder lets it overflow.
  groups.d = LegalHalf(groups.d);
  // Through the bytes, so that the fields are what a reader will see.
  uint8_t bytes[Type::kBytes];
  StoreGroups(Type(), groups, bytes);
  int8_t codes[kBlock];
  Unpack<Type>(bytes, fields, codes);
}

template <class Type>
void Round(const BlockFields& fields, int first, const float* target,
           const float* metric, int8_t* codes, float* values) {
  const int g = first / Type::kGroup;
  const bool down = IsDownAt<Type>(fields.mins[g], first);
  const float scale = fields.d * ScaleValue(fields.scales[g]);
  const float* q = down ? kDown : kUp;
  double error[kOctet][3];
  for (int i = 0; i < kOctet; ++i) {
    for (int level = 0; level < 3; ++level) {
      const double miss = static_cast<double>(scale * q[level]) - target[i];
      error[i][level] = (metric != nullptr ? metric[i] : 1) * (miss * miss);
    }
  }
  const uint8_t* levels = Iq1Grid().levels + kOctet * NearestPoint(error);
  for (int i = 0; i < kOctet; ++i) {
    codes[i] = (down ? kDownCodes : kUpCodes)[levels[i]];
    values[i] = scale * q[levels[i]];
  }
}

template <class Type>
bool IsDownUnit(const BlockFields& fields, int first) {
  return IsDownAt<Type>(fields.mins[first / Type::kGroup], first);
}

template <class Type>
UnitPoints Points() {
  const Grid& grid = Iq1Grid();
  UnitPoints points;
  points.dim = grid.dim;
  points.n_levels = grid.n_levels;
  points.n_points = grid.n_points;
  points.levels = grid.levels;
  points.signs = UnitPoints::Signs::kNone;
  for (int level = 0; level < 3; ++level) {
    points.codes[level] = kUpCodes[level];
    points.down_codes[level] = kDownCodes[level];
  }
  points.is_down = IsDownUnit<Type>;
  return points;
}

template <class Type>
bool IsFinite(const uint8_t* bytes) {
  Groups groups;
  LoadGroups(Type(), bytes, &groups);
  return std::isfinite(groups.d);
}

template <class Type>
constexpr FieldRanges Ranges() {
  FieldRanges ranges = {};
  ranges.n_sub_blocks = kBlock / Type::kGroup;
  ranges.scale_high = kScaleHigh;
  // The shifts.
  ranges.min_high = Type::kShifts - 1;
  ranges.code_low = kDownCodes[0];
  ranges.code_high = kUpCodes[2];
  ranges.code_unit = 0.125f;
  ranges.scale_value = ScaleValue;
  ranges.code_table = kCodes;
  return ranges;
}

// The codec of `Type` with the given variants.
template <class Type>
constexpr BlockCodec MakeCodec(QuantType type, float error_budget,
                               EncodeRowsFn encode_avx2,
                               EncodeRowsFn encode_avx512, DecodeFn decode_avx2,
                               DecodeFn decode_avx512,
                               bool requires_importance) {
  return {type,
          kBlock,
          /*unit=*/kOctet,
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
          decode_avx512,
          requires_importance,
          Points<Type>};
}

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_CODEC_PARTS_H_
