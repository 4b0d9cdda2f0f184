#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq2/reference.h"

namespace narrow {

const BlockCodec kIQ2_XSCodec = iq2::MakeCodec<iq2::Iq2Xs>(
    QuantType::kIQ2_XS, /*error_budget=*/0.33f, avx2::EncodeIQ2_XS,
    avx512::EncodeIQ2_XS, avx2::DecodeIQ2_XS, avx512::DecodeIQ2_XS);

}  // namespace narrow
