// The definition of the IQ2 codecs, in plain code.
//
// ggml's search, for each group of 16 or 32 weights: the signs are split off;
// for each of 13 or 19 candidate scales, every unit is rounded to levels, and
// where these are no point of the grid, the nearest point is taken from the
// list of the index (weights in this distance: the square roots of the
// group's). The candidate whose best scale leaves the least weighted error
// wins, and its points off the grid are chosen once more under that scale.
// Bytes are ggml's, so the order of float operations is part of the
// definition: sums run from the first weight to the last, in float, and a
// product of three factors is formed from the left. Source: ggml 0.27,
// quantize_row_iq2_xxs_impl, quantize_row_iq2_xs_impl, quantize_row_iq2_s_impl.
//
// ggml aborts where nothing is comparable (infinite weights). Here the first
// point of a list is taken then.
//
// Tested by codec_test.

#ifndef NARROW_KERNELS_QUANT_IQ2_REFERENCE_H_
#define NARROW_KERNELS_QUANT_IQ2_REFERENCE_H_

#include "kernels/quant/codec.h"
#include "kernels/quant/iq2/block.h"
#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace iq2 {

const GridIndex& IndexOf(Iq2Xxs);
const GridIndex& IndexOf(Iq2Xs);
const GridIndex& IndexOf(Iq2S);

// The members of the codecs, for the three types.
template <class Type>
void EncodeReference(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes);
template <class Type>
void DecodeReference(const uint8_t* bytes, int64_t n_blocks, float* weights);
template <class Type>
void Fit(const float* weights, const float* column_weights,
         BlockFields* fields);
template <class Type>
void Round(const BlockFields& fields, int first, const float* target,
           const float* metric, int8_t* codes, float* values);
template <class Type>
void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes);
template <class Type>
void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes);
bool IsFinite(const uint8_t* bytes);
template <class Type>
UnitPoints Points();

// weight = d * (2 * scale + 1) * code / 8.
float ScaleValue(int16_t stored);
inline constexpr int8_t kCodes[] = {-43, -25, -8, 8, 25, 43};

template <class Type>
constexpr BlockCodec MakeCodec(QuantType type, float error_budget,
                               EncodeRowsFn encode_avx2,
                               EncodeRowsFn encode_avx512, DecodeFn decode_avx2,
                               DecodeFn decode_avx512) {
  FieldRanges ranges = {};
  ranges.n_sub_blocks = kSuperBlock / Type::kGroup;
  ranges.scale_high = kScaleHigh;
  ranges.code_low = -43;
  ranges.code_high = 43;
  ranges.code_unit = 0.125f;
  ranges.scale_value = ScaleValue;
  ranges.code_table = kCodes;
  return {type,
          kSuperBlock,
          kUnit,
          ranges,
          /*uses_importance=*/true,
          error_budget,
          Fit<Type>,
          Round<Type>,
          Pack<Type>,
          Unpack<Type>,
          IsFinite,
          EncodeReference<Type>,
          encode_avx2,
          encode_avx512,
          DecodeReference<Type>,
          decode_avx2,
          decode_avx512,
          Type::kRequiresImportance,
          Points<Type>};
}

}  // namespace iq2
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_REFERENCE_H_
