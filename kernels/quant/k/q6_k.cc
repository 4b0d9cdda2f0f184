#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ6_KCodec = k_quants::MakeCodec<k_quants::Q6_K>(
    QuantType::kQ6_K, /*error_budget=*/0.019f, avx2::EncodeQ6_K,
    avx512::EncodeQ6_K, avx2::DecodeQ6_K, avx512::DecodeQ6_K);

}  // namespace narrow
