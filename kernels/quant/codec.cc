#include "kernels/quant/codec.h"

namespace narrow {

#define NARROW_CODEC(symbol) extern const BlockCodec symbol;
#include "kernels/quant/codecs.inc"
#undef NARROW_CODEC

namespace {

const BlockCodec* const kCodecs[] = {
#define NARROW_CODEC(symbol) &symbol,
#include "kernels/quant/codecs.inc"
#undef NARROW_CODEC
};

}  // namespace

absl::Span<const BlockCodec* const> AllCodecs() { return kCodecs; }

const BlockCodec* FindCodec(QuantType type) {
  for (const BlockCodec* codec : kCodecs) {
    if (codec->type == type) {
      return codec;
    }
  }
  return nullptr;
}

EncodeRowsFn BlockCodec::encode_for(Isa isa) const {
  if (isa >= Isa::kAvx512 && encode_avx512 != nullptr) {
    return encode_avx512;
  }
  if (isa >= Isa::kAvx2 && encode_avx2 != nullptr) {
    return encode_avx2;
  }
  return encode_reference;
}

void BlockCodec::EncodeRows(const float* weights, int64_t n_rows,
                            int64_t n_cols, const float* importance,
                            uint8_t* bytes) const {
  encode_for(CpuIsa())(weights, n_rows, n_cols, importance, bytes);
}

}  // namespace narrow
