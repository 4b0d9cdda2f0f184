// Q5_0: a scale and 5-bit codes, weight = d * (code - 16).
//
//   bytes  field
//   0-1    d, half precision
//   2-5    fifth bits of the codes
//   6-21   low bits of the codes: nibbles as in block32.h
//
// 32 weights in 22 bytes, little-endian, frozen.

#include "kernels/quant/block32/symmetric32.h"
#include "kernels/quant/codec_variants.h"

namespace narrow {
namespace {

using Definition = block32::Symmetric<5>;

static_assert(Definition::kBytes == 22, "Q5_0's block is frozen");

}  // namespace

const BlockCodec kQ5_0Codec = {
    QuantType::kQ5_0,
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
    &avx2::EncodeQ5_0,
    &avx512::EncodeQ5_0,
    &Definition::Decode,
    &avx2::DecodeQ5_0,
    &avx512::DecodeQ5_0,
};

}  // namespace narrow
