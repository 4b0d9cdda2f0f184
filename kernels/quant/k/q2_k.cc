#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ2_KCodec = k_quants::MakeCodec<k_quants::Q2_K>(
    QuantType::kQ2_K, /*error_budget=*/0.32f, avx2::EncodeQ2_K,
    avx512::EncodeQ2_K, avx2::DecodeQ2_K, avx512::DecodeQ2_K);

}  // namespace narrow
