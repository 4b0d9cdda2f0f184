#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ4_KCodec = k_quants::MakeCodec<k_quants::Q4_K>(
    QuantType::kQ4_K, /*error_budget=*/0.078f, avx2::EncodeQ4_K,
    avx512::EncodeQ4_K, avx2::DecodeQ4_K, avx512::DecodeQ4_K);

}  // namespace narrow
