// Points and signs as bytes, for the SIMD decoders: weight i of a unit is
// byte i of magnitudes[point] times byte i of signs[stored signs].
//
// Made on first use; safe from any thread. For the sources of simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ2_DECODE_TABLES_H_
#define NARROW_KERNELS_QUANT_IQ2_DECODE_TABLES_H_

#include <cstdint>

#include "kernels/quant/iq2/block.h"

namespace narrow {
namespace iq2 {

struct DecodeTables {
  const uint64_t* magnitudes;  // eight bytes of 8, 25, 43
  // Eight bytes of 1 and -1: by seven bits, and the eighth sign makes the
  // negative ones even, or by eight.
  const uint64_t* signs;
};

const DecodeTables& TablesOf(Iq2Xxs);
const DecodeTables& TablesOf(Iq2Xs);
const DecodeTables& TablesOf(Iq2S);

}  // namespace iq2
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_DECODE_TABLES_H_
