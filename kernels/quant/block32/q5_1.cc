// Q5_1: a scale, a minimum and 5-bit codes, weight = d * code + m.
//
//   bytes  field
//   0-1    d, half precision
//   2-3    m, half precision
//   4-7    fifth bits of the codes
//   8-23   low bits of the codes: nibbles as in block32.h
//
// 32 weights in 24 bytes, little-endian, frozen.

#include "kernels/quant/block32/affine32.h"
#include "kernels/quant/codec_variants.h"

namespace narrow {
namespace {

using Definition = block32::Affine<5>;

static_assert(Definition::kBytes == 24, "Q5_1's block is frozen");

}  // namespace

const BlockCodec kQ5_1Codec = {
    QuantType::kQ5_1,
    block32::kSize,
    /*unit=*/1,
    Definition::kRanges,
    /*uses_importance=*/true,
    /*error_budget=*/0.05f,
    &Definition::Fit,
    &Definition::Round,
    &Definition::Pack,
    &Definition::Unpack,
    &Definition::IsFinite,
    &Definition::Encode,
    &avx2::EncodeQ5_1,
    &avx512::EncodeQ5_1,
    &Definition::Decode,
    &avx2::DecodeQ5_1,
    &avx512::DecodeQ5_1,
};

}  // namespace narrow
