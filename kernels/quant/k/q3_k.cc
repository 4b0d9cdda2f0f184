#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ3_KCodec = k_quants::MakeCodec<k_quants::Q3_K>(
    QuantType::kQ3_K, /*error_budget=*/0.165f, avx2::EncodeQ3_K,
    avx512::EncodeQ3_K, avx2::DecodeQ3_K, avx512::DecodeQ3_K);

}  // namespace narrow
