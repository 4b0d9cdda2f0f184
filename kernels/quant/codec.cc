#include "kernels/quant/codec.h"

#include <algorithm>

#include "formats/base/float16.h"
#include "kernels/quant/codec_variants.h"

namespace narrow {
namespace {

const BlockCodec* const kCodecs[] = {
#define NARROW_CODEC(name) &k##name##Codec,
#include "kernels/quant/codecs.inc"
#undef NARROW_CODEC
};

// The last variant that exists and needs no more than `isa`.
template <typename Fn>
Fn Choose(Isa isa, Fn reference, Fn avx2, Fn avx512) {
  if (isa >= Isa::kAvx512 && avx512 != nullptr) {
    return avx512;
  }
  if (isa >= Isa::kAvx2 && avx2 != nullptr) {
    return avx2;
  }
  return reference;
}

// Plain numbers: a call each would cost more than the check, so they are
// decoded in runs and searched only where a run has a bad one.
int64_t FirstBadNumber(const BlockCodec& codec, int64_t number_bytes,
                       const uint8_t* bytes, int64_t n_numbers) {
  constexpr int64_t kRun = 1024;
  constexpr uint32_t kExponent = 0x7f800000;
  float run[kRun] = {};
  for (int64_t first = 0; first < n_numbers; first += kRun) {
    const int64_t n = std::min(kRun, n_numbers - first);
    codec.Decode(bytes + first * number_bytes, n, run);
    uint32_t n_bad = 0;
    for (int64_t i = 0; i < kRun; ++i) {
      n_bad += i < n && (FloatBits(run[i]) & kExponent) == kExponent;
    }
    for (int64_t i = 0; n_bad > 0 && i < n; ++i) {
      if (!codec.block_is_finite(bytes + (first + i) * number_bytes)) {
        return first + i;
      }
    }
  }
  return -1;
}

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
  return Choose(isa, encode_reference, encode_avx2, encode_avx512);
}

DecodeFn BlockCodec::decode_for(Isa isa) const {
  return Choose(isa, decode_reference, decode_avx2, decode_avx512);
}

void BlockCodec::EncodeRows(const float* weights, int64_t n_rows,
                            int64_t n_cols, const float* importance,
                            uint8_t* bytes) const {
  encode_for(CpuIsa())(weights, n_rows, n_cols, importance, bytes);
}

void BlockCodec::Decode(const uint8_t* bytes, int64_t n_blocks,
                        float* weights) const {
  decode_for(CpuIsa())(bytes, n_blocks, weights);
}

int64_t BlockCodec::FirstBadBlock(const uint8_t* bytes,
                                  int64_t n_blocks) const {
  const int64_t block_bytes = Geometry(type).block_bytes;
  if (block == 1) {
    return FirstBadNumber(*this, block_bytes, bytes, n_blocks);
  }
  for (int64_t i = 0; i < n_blocks; ++i) {
    if (!block_is_finite(bytes + i * block_bytes)) {
      return i;
    }
  }
  return -1;
}

}  // namespace narrow
