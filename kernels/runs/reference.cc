// The definition of the run kernels.

#include <algorithm>
#include <cmath>

#include "formats/base/float8.h"
#include "kernels/runs/runs.h"

namespace narrow {
namespace {

constexpr int kLanes = 16;
constexpr float kE2M1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

// Middles between neighbours go to the even code.
int E2M1Index(float size) {
  return (size > 0.25f) + (size >= 0.75f) + (size > 1.25f) + (size >= 1.75f) +
         (size > 2.5f) + (size >= 3.5f) + (size > 5.0f);
}

struct Rounded {
  float value;
  uint8_t code;
};

Rounded RoundOne(const RunGrid& grid, float y) {
  switch (grid.kind) {
    case RunGrid::Kind::kInteger: {
      const float q =
          std::nearbyint(std::min(std::max(y, grid.low), grid.high));
      return {q, static_cast<uint8_t>(static_cast<int>(q) + 128)};
    }
    case RunGrid::Kind::kE4M3: {
      const uint8_t code = E4M3FromFloat(y);
      return {FloatFromE4M3(code), code};
    }
    case RunGrid::Kind::kE2M1: {
      const int index = E2M1Index(std::fabs(y));
      return {std::copysign(kE2M1[index], y),
              static_cast<uint8_t>(index + (std::signbit(y) ? 8 : 0))};
    }
    case RunGrid::Kind::kTable: {
      int place = 0;
      for (const float bound : grid.bounds) {
        place += bound < y ? 1 : 0;
      }
      return {grid.values[place], grid.codes[place]};
    }
  }
  return {0, 0};
}

float MaxAbs(const float* x, int64_t n) {
  float top = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(x[i])) {
      return INFINITY;
    }
    top = std::max(top, std::fabs(x[i]));
  }
  return top;
}

void Round(const RunGrid& grid, const float* x, int64_t n, float factor,
           RunDivision division, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    const float y =
        division == RunDivision::kDivide ? x[i] / factor : x[i] * factor;
    codes[i] = RoundOne(grid, y).code;
  }
}

double Fold(const float* v) {
  double s[8];
  for (int i = 0; i < 8; ++i) {
    s[i] = double{v[i]} + double{v[i + 8]};
  }
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

RunSums Measure(const RunGrid& grid, const float* x, const float* weights,
                int64_t n, float scale) {
  float error[kLanes] = {};
  float product[kLanes] = {};
  float square[kLanes] = {};
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < n; ++i) {
    const int k = static_cast<int>(i % kLanes);
    const float v = RoundOne(grid, x[i] * inverse).value;
    const float miss = x[i] - v * scale;
    const float w = weights == nullptr ? 1.0f : weights[i];
    error[k] += w * miss * miss;
    product[k] += w * v * x[i];
    square[k] += w * v * v;
  }
  return {Fold(error), Fold(product), Fold(square)};
}

void PutAside(const float* from, int64_t stride, int64_t n_runs, int64_t n,
              float* out) {
  for (int64_t k = 0; k < kRunsAside; ++k) {
    for (int64_t i = 0; i < n; ++i) {
      out[i * kRunsAside + k] = from[(k < n_runs ? k * stride : 0) + i];
    }
  }
}

// Run k of sixteen: its error under `scale`, and the sums of a refit.
float SumsAside(const RunGrid& grid, const float* x, const float* weights,
                int64_t n, int64_t k, float scale, float* product,
                float* square) {
  const float inverse = 1.0f / scale;
  float error = 0;
  *product = 0;
  *square = 0;
  for (int64_t i = k; i < n * kRunsAside; i += kRunsAside) {
    const float v = RoundOne(grid, x[i] * inverse).value;
    const float miss = x[i] - v * scale;
    const float w = weights == nullptr ? 1.0f : weights[i];
    error += w * miss * miss;
    *product += w * v * x[i];
    *square += w * v * v;
  }
  return error;
}

void ChooseScales(const RunGrid& grid, const float* x, const float* weights,
                  int64_t n, const float* scales, int64_t n_scales, float* best,
                  float* best_error) {
  float product, square;
  for (int64_t k = 0; k < kRunsAside; ++k) {
    for (int64_t c = 0; c < n_scales; ++c) {
      const float scale = scales[c * kRunsAside + k];
      const float error =
          SumsAside(grid, x, weights, n, k, scale, &product, &square);
      if (c == 0 || error < best_error[k]) {
        best[k] = scale;
        best_error[k] = error;
      }
    }
  }
}

void RefitScales(const RunGrid& grid, const float* x, const float* weights,
                 int64_t n, int n_rounds, float* scales, float* errors) {
  for (int64_t k = 0; k < kRunsAside; ++k) {
    for (int round = 0; round < n_rounds; ++round) {
      float product, square, ignored;
      SumsAside(grid, x, weights, n, k, scales[k], &product, &square);
      const float fitted = product / square;
      const float trial = fitted > 0 ? fitted : scales[k];
      const float error =
          SumsAside(grid, x, weights, n, k, trial, &ignored, &ignored);
      if (error < errors[k]) {
        scales[k] = trial;
        errors[k] = error;
      }
    }
  }
}

constexpr RunKernels kReference = {"reference",  Isa::kScalar, MaxAbs,
                                   Round,        Measure,      PutAside,
                                   ChooseScales, RefitScales};

}  // namespace

const RunKernels& RunKernelsReference() { return kReference; }

}  // namespace narrow
