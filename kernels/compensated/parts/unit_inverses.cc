#include "kernels/compensated/parts/unit_inverses.h"

#include <cstddef>

#include "kernels/quant/codec.h"

namespace narrow {
namespace {

using Square = double[kMaxUnit][kMaxUnit];

// Gauss and Jordan without pivoting, in place; false without an inverse that
// is safe to use. (The squares are positive definite or a unit is dead.)
bool Invert(int n, Square a) {
  for (int k = 0; k < n; ++k) {
    const double pivot = a[k][k];
    if (!(pivot > 0)) {
      return false;
    }
    a[k][k] = 1;
    for (int j = 0; j < n; ++j) {
      a[k][j] /= pivot;
    }
    for (int i = 0; i < n; ++i) {
      if (i == k) {
        continue;
      }
      const double factor = a[i][k];
      a[i][k] = 0;
      for (int j = 0; j < n; ++j) {
        a[i][j] -= factor * a[k][j];
      }
    }
  }
  return true;
}

}  // namespace

std::vector<float> UnitInverses(const float* gram, int64_t stride, int64_t n,
                                int unit) {
  std::vector<float> inverses(static_cast<size_t>(n * unit), 0.0f);
  for (int64_t first = 0; first < n; first += unit) {
    Square square;
    for (int i = 0; i < unit; ++i) {
      for (int j = 0; j < unit; ++j) {
        square[i][j] =
            static_cast<double>(gram[(first + i) * stride + first + j]);
      }
    }
    const bool sound = Invert(unit, square);
    for (int i = 0; i < unit; ++i) {
      for (int j = 0; j < unit; ++j) {
        const double diagonal =
            static_cast<double>(gram[(first + i) * stride + first + i]);
        const double alone = i == j && diagonal > 0 ? 1 / diagonal : 0;
        inverses[static_cast<size_t>((first + i) * unit + j)] =
            static_cast<float>(sound ? square[i][j] : alone);
      }
    }
  }
  return inverses;
}

}  // namespace narrow
