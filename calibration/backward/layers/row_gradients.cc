#include "calibration/backward/layers/row_gradients.h"

#include <algorithm>
#include <cmath>

namespace narrow {
namespace {

constexpr int kLanes = 8;

// The sum of term(i), in lanes that are folded in a fixed order: eight chains
// of additions keep the processor busy, and any compiler can put them into
// registers.
template <typename Term>
double LaneSum(int64_t n, Term term) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += term(i + lane);
    }
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) {
    lanes[lane] += term(i);
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// 1 / (1 + e^-x) in place.
void Sigmoids(const RowKernels& rows, int64_t n, float* x) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] = std::min(-x[i], 88.0f);  // what exp_in_place takes
  }
  rows.exp_in_place(0, n, x);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = 1.0f / (1.0f + x[i]);
  }
}

}  // namespace

// With f = 1 / sqrt(mean(x^2) + eps) and g the gradient at y:
//   dL/dx_i = f w_i g_i - x_i f^3 / n * sum_j w_j g_j x_j.
void RmsNormGradient(const float* x, const float* weight, int64_t n, float eps,
                     float* gradient) {
  const double count = static_cast<double>(n);
  const double mean = SquaredNorm(x, n) / count;
  const double factor = 1.0 / std::sqrt(mean + static_cast<double>(eps));
  const double product = LaneSum(n, [&](int64_t i) {
    return static_cast<double>(weight[i]) * static_cast<double>(gradient[i]) *
           static_cast<double>(x[i]);
  });
  const double share = factor * factor * factor * product / count;
  for (int64_t i = 0; i < n; ++i) {
    const double scaled =
        static_cast<double>(weight[i]) * static_cast<double>(gradient[i]);
    gradient[i] =
        static_cast<float>(scaled * factor - static_cast<double>(x[i]) * share);
  }
}

// SiLU: act = x s(x), act' = s (1 + x (1 - s)). GELU, as kernels/rows has it:
// act = x s(z), z = 2 sqrt(2 / pi) (x + 0.044715 x^3),
// act' = s + x s (1 - s) z'.
void GateGradient(const RowKernels& rows, BlockTraits::Activation activation,
                  const float* gate, const float* up, const float* gradient,
                  int64_t n, float* gate_gradient, float* up_gradient) {
  constexpr float kTwice = 2 * 0.7978845608028654f;
  constexpr float kCubic = 0.044715f;
  const bool gelu = activation == BlockTraits::Activation::kGeluTanh;
  for (int64_t i = 0; i < n; ++i) {
    const float x = gate[i];
    gate_gradient[i] = gelu ? (x + x * x * x * kCubic) * kTwice : x;
  }
  Sigmoids(rows, n, gate_gradient);
  for (int64_t i = 0; i < n; ++i) {
    const float x = gate[i];
    const float s = gate_gradient[i];
    const float slope = gelu ? (1.0f + x * x * (3 * kCubic)) * kTwice : 1.0f;
    up_gradient[i] = gradient[i] * (x * s);
    gate_gradient[i] = gradient[i] * up[i] * (s + x * s * (1.0f - s) * slope);
  }
}

void SoftCapGradient(float cap, const float* y, int64_t n, float* gradient) {
  for (int64_t i = 0; i < n; ++i) {
    const float ratio = y[i] / cap;
    gradient[i] *= 1.0f - ratio * ratio;
  }
}

double SquaredNorm(const float* x, int64_t n) {
  return LaneSum(n, [&](int64_t i) {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  });
}

std::vector<float> RowNorms(ThreadPool* pool, const float* rows, int64_t n_rows,
                            int64_t n) {
  std::vector<float> norms(static_cast<size_t>(n_rows));
  pool->ParallelFor(n_rows, [&](int64_t r) {
    norms[static_cast<size_t>(r)] =
        static_cast<float>(std::sqrt(SquaredNorm(rows + r * n, n)));
  });
  return norms;
}

}  // namespace narrow
