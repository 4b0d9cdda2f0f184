#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ2_KCodec = k_quants::MakeCodec<k_quants::Q2_K>(
    QuantType::kQ2_K, /*error_budget=*/0.35f, nullptr, nullptr, nullptr,
    nullptr);

}  // namespace narrow
