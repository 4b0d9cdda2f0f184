// The definitions of the row kernels.

#include <algorithm>
#include <cmath>
#include <limits>

#include "formats/base/float16.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

void RmsNorm(const float* x, const float* weight, int64_t n, float eps,
             float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(x[i]) * x[i];
  }
  const double root = std::sqrt(sum / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(x[i] / root * weight[i]);
  }
}

void GateSilu(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1 + std::exp(-g)) * up[i]);
  }
}

void GateGelu(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i];
    const double z = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
    out[i] = static_cast<float>(0.5 * g * (1 + std::tanh(z)) * up[i]);
  }
}

void AddScaled(const float* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] += x[i] * scale;
  }
}

void Scale(const float* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * scale;
  }
}

void SoftCap(float cap, int64_t n, float* x) {
  for (int64_t i = 0; i < n; ++i) {
    const double z = static_cast<double>(x[i]) / cap;
    x[i] = static_cast<float>(cap * std::tanh(z));
  }
}

float Max(const float* x, int64_t n) {
  float best = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    best = x[i] > best ? x[i] : best;
  }
  return best;
}

double ExpTerm(float x, float shift) {
  return std::exp(std::max(static_cast<double>(x) - shift, -87.0));
}

double ExpSum(const float* x, float shift, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += ExpTerm(x[i], shift);
  }
  return sum;
}

double ExpInPlace(float shift, int64_t n, float* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double term = ExpTerm(x[i], shift);
    x[i] = static_cast<float>(term);
    sum += term;
  }
  return sum;
}

void Rotate(float c, float s, float* x, float* y) {
  const double a = *x, b = *y;
  *x = static_cast<float>(a * c - b * s);
  *y = static_cast<float>(a * s + b * c);
}

void RotateHalves(const float* cosines, const float* sines, int64_t n_pairs,
                  float* x) {
  for (int64_t i = 0; i < n_pairs; ++i) {
    Rotate(cosines[i], sines[i], x + i, x + i + n_pairs);
  }
}

void RotatePairs(const float* cosines, const float* sines, int64_t n_pairs,
                 float* x) {
  for (int64_t i = 0; i < n_pairs; ++i) {
    Rotate(cosines[i], sines[i], x + 2 * i, x + 2 * i + 1);
  }
}

void ToBf16(const float* x, int64_t n, uint16_t* out) {
  std::transform(x, x + n, out, Bf16FromFloat);
}

bool AllFinite(const float* x, int64_t n) {
  return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

void AddColumns(const float* x, int64_t stride, int64_t n_rows, int64_t n_cols,
                double* sums, double* squares) {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t j = 0; j < n_cols; ++j) {
      const double v = x[r * stride + j];
      sums[j] += v;
      squares[j] += v * v;
    }
  }
}

void AddMagnitudes(const float* x, int64_t stride, int64_t n_rows,
                   int64_t n_cols, const float* weights,
                   const ColumnMagnitudes& sums) {
  for (int64_t r = 0; r < n_rows; ++r) {
    const double weight = weights == nullptr ? 1 : double{weights[r]};
    for (int64_t j = 0; j < n_cols; ++j) {
      const double v = x[r * stride + j];
      sums.squares[j] += weight * (v * v);
      sums.magnitudes[j] += weight * std::fabs(v);
      sums.most[j] = std::max(sums.most[j], x[r * stride + j]);
      sums.least[j] = std::min(sums.least[j], x[r * stride + j]);
    }
  }
}

}  // namespace

const RowKernels& RowKernelsReference() {
  static constexpr RowKernels kReference = {
      "reference", Isa::kScalar,  RmsNorm,     GateSilu, GateGelu,
      AddScaled,   Scale,         SoftCap,     Max,      ExpSum,
      ExpInPlace,  RotateHalves,  RotatePairs, ToBf16,   AllFinite,
      AddColumns,  AddMagnitudes,
  };
  return kReference;
}

}  // namespace narrow
