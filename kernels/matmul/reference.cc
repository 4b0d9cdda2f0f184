#include "kernels/matmul/matmul.h"

namespace narrow {

void MultiplyReference(const float* rows, int64_t n_rows, const float* weights,
                       int64_t n_outputs, int64_t n_inputs, float* tile) {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t o = 0; o < n_outputs; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < n_inputs; ++i) {
        sum += static_cast<double>(rows[r * n_inputs + i]) *
               weights[o * n_inputs + i];
      }
      tile[r * n_outputs + o] = static_cast<float>(sum);
    }
  }
}

}  // namespace narrow
