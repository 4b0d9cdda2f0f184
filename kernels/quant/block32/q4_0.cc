// Q4_0: a scale and 4-bit codes, weight = d * (code - 8).
//
//   bytes  field
//   0-1    d, half precision
//   2-17   codes: nibbles as in block32.h
//
// 32 weights in 18 bytes, little-endian, frozen.

#include "kernels/quant/block32/symmetric32.h"
#include "kernels/quant/codec_variants.h"

namespace narrow {
namespace {

using Definition = block32::Symmetric<4>;

static_assert(Definition::kBytes == 18, "Q4_0's block is frozen");

}  // namespace

const BlockCodec kQ4_0Codec = {
    QuantType::kQ4_0,
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
    &avx2::EncodeQ4_0,
    &avx512::EncodeQ4_0,
    &Definition::Decode,
    &avx2::DecodeQ4_0,
    &avx512::DecodeQ4_0,
};

}  // namespace narrow
