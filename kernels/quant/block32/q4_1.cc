// Q4_1: a scale, a minimum and 4-bit codes, weight = d * code + m.
//
//   bytes  field
//   0-1    d, half precision
//   2-3    m, half precision
//   4-19   codes: nibbles as in block32.h
//
// 32 weights in 20 bytes, little-endian, frozen.

#include "kernels/quant/block32/affine32.h"
#include "kernels/quant/codec_variants.h"

namespace narrow {
namespace {

using Definition = block32::Affine<4>;

static_assert(Definition::kBytes == 20, "Q4_1's block is frozen");

}  // namespace

const BlockCodec kQ4_1Codec = {
    QuantType::kQ4_1,
    block32::kSize,
    /*unit=*/1,
    Definition::kRanges,
    /*uses_importance=*/true,
    /*error_budget=*/0.1f,
    &Definition::Fit,
    &Definition::Round,
    &Definition::Pack,
    &Definition::Unpack,
    &Definition::IsFinite,
    &Definition::Encode,
    &avx2::EncodeQ4_1,
    &avx512::EncodeQ4_1,
    &Definition::Decode,
    &avx2::DecodeQ4_1,
    &avx512::DecodeQ4_1,
};

}  // namespace narrow
