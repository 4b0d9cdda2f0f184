// IQ3_XXS, 98 bytes for 256 weights, little-endian, frozen:
//
//     0   2  d, half precision
//     2  64  points, one byte for each 4 weights
//    66  32  a word for each 32 weights
//              bits 0 … 27   signs of 8 weights in 7 bits, four times: bit i
//                            of them is set if weight i is negative; the
//                            eighth makes the number of set bits even
//              bits 28 … 31  scale
//
// weight = d * (scale + 1/2) / 2 * (+-magnitude of the point's coordinate)

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq3/codec_parts.h"

namespace narrow {

const BlockCodec kIQ3_XXSCodec = iq3::MakeCodec<iq3::IQ3_XXS>(
    QuantType::kIQ3_XXS, /*code_unit=*/0.25f, /*error_budget=*/0.23f,
    avx2::EncodeIQ3_XXS, avx512::EncodeIQ3_XXS, avx2::DecodeIQ3_XXS,
    avx512::DecodeIQ3_XXS);

}  // namespace narrow
