#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq2/reference.h"

namespace narrow {

const BlockCodec kIQ2_SCodec = iq2::MakeCodec<iq2::Iq2S>(
    QuantType::kIQ2_S, /*error_budget=*/0.29f, avx2::EncodeIQ2_S,
    avx512::EncodeIQ2_S, avx2::DecodeIQ2_S, avx512::DecodeIQ2_S);

}  // namespace narrow
