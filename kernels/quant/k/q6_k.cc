#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/reference.h"

namespace narrow {

const BlockCodec kQ6_KCodec = k_quants::MakeCodec<k_quants::Q6_K>(
    QuantType::kQ6_K, /*error_budget=*/0.025f, nullptr, nullptr, nullptr,
    nullptr);

}  // namespace narrow
