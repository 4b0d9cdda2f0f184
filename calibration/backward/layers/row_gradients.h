// Derivatives of the passes of kernels/rows, a row at a time: from the
// gradient at what a pass gives to that at what it was given.
//
//   RmsNormGradient(x, weight, n, eps, gradient);   // in place
//
// Pure functions, safe from any thread. Sums are in double in a fixed order,
// exponentials are those of kernels/rows, and the rest is + - * / in a fixed
// order: the same bits on every processor. Tested by: row_gradients_test,
// against differences.

#ifndef NARROW_CALIBRATION_BACKWARD_LAYERS_ROW_GRADIENTS_H_
#define NARROW_CALIBRATION_BACKWARD_LAYERS_ROW_GRADIENTS_H_

#include <cstdint>
#include <vector>

#include "formats/arch/arch_spec.h"
#include "formats/base/parallel.h"
#include "kernels/rows/rows.h"

namespace narrow {

// y = x / sqrt(mean(x^2) + eps) * weight: dL/dy becomes dL/dx.
void RmsNormGradient(const float* x, const float* weight, int64_t n, float eps,
                     float* gradient);

// y = act(gate) * up, from `gradient` at y.
void GateGradient(const RowKernels& rows, BlockTraits::Activation activation,
                  const float* gate, const float* up, const float* gradient,
                  int64_t n, float* gate_gradient, float* up_gradient);

// y = cap * tanh(x / cap), from y: dL/dy becomes dL/dx.
void SoftCapGradient(float cap, const float* y, int64_t n, float* gradient);

// The sum of squares, in eight lanes of double.
double SquaredNorm(const float* x, int64_t n);
// Its root for each of the rows [n_rows, n]; `pool` must be idle.
std::vector<float> RowNorms(ThreadPool* pool, const float* rows, int64_t n_rows,
                            int64_t n);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_LAYERS_ROW_GRADIENTS_H_
