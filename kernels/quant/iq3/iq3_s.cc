// IQ3_S, 110 bytes for 256 weights, little-endian, frozen:
//
//     0   2  d, half precision
//     2  64  points, the low 8 of 9 bits, one for each 4 weights
//    66   8  their high bits: bit i of byte k is that of point 8 * k + i
//    74  32  signs: bit i of byte k is set if weight 8 * k + i is negative
//   106   4  scales of two groups of 32 weights, the first in the low bits
//
// weight = d * (2 * scale + 1) * (+-magnitude of the point's coordinate)

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq3/codec_parts.h"

namespace narrow {

const BlockCodec kIQ3_SCodec = iq3::MakeCodec<iq3::IQ3_S>(
    QuantType::kIQ3_S, /*code_unit=*/1, /*error_budget=*/0.2f,
    avx2::EncodeIQ3_S, avx512::EncodeIQ3_S, avx2::DecodeIQ3_S,
    avx512::DecodeIQ3_S);

}  // namespace narrow
