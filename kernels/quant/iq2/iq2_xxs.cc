#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq2/reference.h"

namespace narrow {

const BlockCodec kIQ2_XXSCodec = iq2::MakeCodec<iq2::Iq2Xxs>(
    QuantType::kIQ2_XXS, /*error_budget=*/0.37f, avx2::EncodeIQ2_XXS,
    avx512::EncodeIQ2_XXS, avx2::DecodeIQ2_XXS, avx512::DecodeIQ2_XXS);

}  // namespace narrow
