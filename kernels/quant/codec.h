// The arithmetic of an element type: what one block stores, how its fields
// are fitted, how weights are rounded under them, how both become bytes.
//
//   const BlockCodec* codec = FindCodec(QuantType::kQ4_K);
//   codec->EncodeRows(weights, n_rows, n_cols, importance, bytes);
//   codec->Decode(bytes, n_blocks, weights);
//   if (codec->FirstBadBlock(bytes, n_blocks) >= 0) ...
//
// Encoding with EncodeRows gives ggml's bytes exactly; error-feedback solvers
// drive fit, round and pack instead. Every function is pure and safe from any
// thread; nothing is allocated. The parts are kept apart so that a solver
// owns acceptance and the codec owns legality.

#ifndef NARROW_KERNELS_QUANT_CODEC_H_
#define NARROW_KERNELS_QUANT_CODEC_H_

#include <cstdint>

#include "absl/types/span.h"
#include "formats/quant_type.h"
#include "kernels/cpu.h"

namespace narrow {

inline constexpr int kMaxBlockWeights = 256;
inline constexpr int kMaxSubBlocks = 16;
inline constexpr int kMaxUnit = 8;

// The stored fields of one block, decoded. A weight is linear in them:
//   weight = d * code_unit * S(scales[g]) * code - dmin * mins[g],
// g = its sub-block, S = FieldRanges::Scale. `d` and `dmin` hold values that
// the file can hold (half precision, but for the plain types); `scales` and
// `mins` are integers inside FieldRanges. A type without sub-scales has
// scales[0] = 1; one without minima has dmin = 0, and may use mins[g] for a
// field that its codes depend on (the shift of IQ1_S). A plain number (F32,
// F16 …) is a block of one weight whose code is 1.
//
// Codes are the numbers that a weight is proportional to, not the bits that
// store them: those of IQ4_NL are its table's values, those of a lattice type
// are signed coordinates of its points.
struct BlockFields {
  float d = 0;
  float dmin = 0;
  int16_t scales[kMaxSubBlocks] = {};
  int16_t mins[kMaxSubBlocks] = {};
};

// What a block's `d` may be: a half; a power of two from 2^-127 to 2^125; 1.
enum class UnitKind : uint8_t { kHalf, kPowerOfTwo, kOne };

// What a type's fields may be, so that one generic refit serves every type.
struct FieldRanges {
  int n_sub_blocks;  // scales (and mins) used
  int16_t scale_low, scale_high;
  int16_t min_low, min_high;  // both 0: the type has no minima
  bool has_dmin;
  int16_t code_low, code_high;
  // What a code's unit is worth, a power of two.
  float code_unit = 1;
  // What a stored scale stands for; nullptr: itself.
  float (*scale_value)(int16_t stored) = nullptr;
  // The codes there are, rising; empty: all from code_low to code_high. For
  // units above 1, which combinations of them exist is known to round alone.
  absl::Span<const int8_t> code_table = {};
  UnitKind unit_kind = UnitKind::kHalf;

  float Scale(int16_t stored) const {
    return scale_value != nullptr ? scale_value(stored)
                                  : static_cast<float>(stored);
  }
};

// How the codes of a unit above 1 combine, for searches beyond `round`: the
// unit is one point of a lattice or two, a point a level for each coordinate.
struct UnitPoints {
  int dim = 0;  // coordinates a point: the unit or half of it
  int n_levels = 0;
  int n_points = 0;
  const uint8_t* levels = nullptr;  // [n_points, dim]
  // What the signs of codes may be: any; any with an even number of negative
  // ones in the unit; none but the levels' own.
  enum class Signs : uint8_t { kFree, kEven, kNone };
  Signs signs = Signs::kFree;
  // Codes of levels: magnitudes where signs are apart.
  int8_t codes[8] = {};
  // Of a unit for which is_down(fields, first weight) holds.
  int8_t down_codes[8] = {};
  bool (*is_down)(const BlockFields& fields, int first) = nullptr;
};

// Rows of `n_cols` weights to blocks. `importance`, one non-negative weight a
// column, or nullptr unless the type requires it. REQUIRES: n_cols % block ==
// 0.
using EncodeRowsFn = void (*)(const float* weights, int64_t n_rows,
                              int64_t n_cols, const float* importance,
                              uint8_t* bytes);
// Blocks to weights; ggml's decoder, bit for bit.
using DecodeFn = void (*)(const uint8_t* bytes, int64_t n_blocks,
                          float* weights);

struct BlockCodec {
  QuantType type;
  int block;  // weights a block
  int unit;   // weights rounded together: 1; 4 or 8 for lattice types
  FieldRanges ranges;
  bool uses_importance;
  // Bound on the relative RMS error of normal weights, for tests.
  float error_budget;

  // Fields for one block of weights under column weights (nullptr: the
  // type's own default weighting). The result is legal. REQUIRES: finite
  // weights; encoders take any.
  void (*fit)(const float* weights, const float* column_weights,
              BlockFields* fields);
  // Codes and values for the `unit` weights beginning at `first`, nearest to
  // `target` under `fields`; `metric`, one weight each or nullptr, matters
  // for units above 1: the sum of metric * (value - target)^2 is least.
  void (*round)(const BlockFields& fields, int first, const float* target,
                const float* metric, int8_t* codes, float* values);
  void (*pack)(const BlockFields& fields, const int8_t* codes, uint8_t* bytes);
  void (*unpack)(const uint8_t* bytes, BlockFields* fields, int8_t* codes);

  // Whether the numbers that a block holds in floating point are all finite.
  bool (*block_is_finite)(const uint8_t* bytes);

  // The plain definitions, and their variants; nullptr where an instruction
  // set has none of its own.
  EncodeRowsFn encode_reference;
  EncodeRowsFn encode_avx2;
  EncodeRowsFn encode_avx512;
  DecodeFn decode_reference;
  DecodeFn decode_avx2;
  DecodeFn decode_avx512;

  // Whether ggml's encoder works with importance alone.
  bool requires_importance = false;

  // Of units above 1.
  UnitPoints (*unit_points)() = nullptr;

  // The best variant up to `isa`.
  EncodeRowsFn encode_for(Isa isa) const;
  DecodeFn decode_for(Isa isa) const;

  // With the variants for this processor. With importance some take 16 rows
  // at once, so calls of many rows are the fastest.
  void EncodeRows(const float* weights, int64_t n_rows, int64_t n_cols,
                  const float* importance, uint8_t* bytes) const;
  void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) const;

  // The first block with an infinity or a NaN among its stored numbers, or
  // -1. ggml's encoders make such blocks of weights beyond half precision,
  // and its tools refuse files that hold one.
  int64_t FirstBadBlock(const uint8_t* bytes, int64_t n_blocks) const;
};

// All codecs, in the order of codecs.inc.
absl::Span<const BlockCodec* const> AllCodecs();
// nullptr if the type has no codec.
const BlockCodec* FindCodec(QuantType type);

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_CODEC_H_
