// Declares, for every row of codecs.inc, the codec and the encoder and
// decoder of each instruction set. The latter live in the sources of
// simd_library targets, each compiled once an instruction set; those sources
// do not include this header, for it brings inline functions of the standard
// library, which the linker might take from a unit that needs AVX-512.

#ifndef NARROW_KERNELS_QUANT_CODEC_VARIANTS_H_
#define NARROW_KERNELS_QUANT_CODEC_VARIANTS_H_

#include <cstdint>

#include "kernels/quant/codec.h"

namespace narrow {

#define NARROW_CODEC(name) extern const BlockCodec k##name##Codec;
#include "kernels/quant/codecs.inc"
#undef NARROW_CODEC

#define NARROW_CODEC(name)                                                \
  void Encode##name(const float* weights, int64_t n_rows, int64_t n_cols, \
                    const float* importance, uint8_t* bytes);             \
  void Decode##name(const uint8_t* bytes, int64_t n_blocks, float* weights);
namespace avx2 {
#include "kernels/quant/codecs.inc"
}  // namespace avx2
namespace avx512 {
#include "kernels/quant/codecs.inc"
}  // namespace avx512
#undef NARROW_CODEC

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_CODEC_VARIANTS_H_
