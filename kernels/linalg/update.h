// What a product does to what is there already. Plain, for gemm.h and for
// sources that are compiled for cards.

#ifndef NARROW_KERNELS_LINALG_UPDATE_H_
#define NARROW_KERNELS_LINALG_UPDATE_H_

namespace narrow {

enum class Update {
  kSet,       // C = A B
  kAdd,       // C = fma(a, b, C), k after k, beginning with C
  kSubtract,  // C = fma(-a, b, C), likewise
};

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_UPDATE_H_
