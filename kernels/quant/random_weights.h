// Weights and importances for statements about a type as a whole: those of
// test_weights.h are small and full of traps, these are large and plain.
//
//   for (const RandomWeights& w : MakeRandomWeights(64, 4096)) ...

#ifndef NARROW_KERNELS_QUANT_RANDOM_WEIGHTS_H_
#define NARROW_KERNELS_QUANT_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace narrow {

struct RandomWeights {
  std::string name;
  std::vector<float> weights;  // [n_rows, n_cols]
};

// Gaussian; Gaussian with one in 100 twenty times as large; ternary with a
// magnitude a row; one value a row; zero.
std::vector<RandomWeights> MakeRandomWeights(int64_t n_rows, int64_t n_cols);

struct RandomImportance {
  std::string name;
  std::vector<float> importance;  // [n_cols]
};

// Uniform; log-normal with a deviation of 2 in the logarithm; the same with
// one in eight zero.
std::vector<RandomImportance> MakeRandomImportances(int64_t n_cols);

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_RANDOM_WEIGHTS_H_
