#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ5_KCodec = k_quants::MakeCodec<k_quants::Q5_K>(
    QuantType::kQ5_K, /*error_budget=*/0.0395f, avx2::EncodeQ5_K,
    avx512::EncodeQ5_K, avx2::DecodeQ5_K, avx512::DecodeQ5_K);

}  // namespace narrow
