#include "kernels/quant/k/plain_calls.h"

#include "kernels/quant/k/reference.h"

namespace narrow {
namespace k_quants {

void EncodePlainly(Q2_K, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Q2_K>(x, importance, bytes);
}

void EncodePlainly(Q3_K, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Q3_K>(x, importance, bytes);
}

void EncodePlainly(Q4_K, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Q4_K>(x, importance, bytes);
}

void EncodePlainly(Q5_K, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Q5_K>(x, importance, bytes);
}

void EncodePlainly(Q6_K, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Q6_K>(x, importance, bytes);
}

}  // namespace k_quants
}  // namespace narrow
