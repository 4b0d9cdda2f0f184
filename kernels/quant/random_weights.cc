#include "kernels/quant/random_weights.h"

#include <cmath>
#include <random>

namespace narrow {

std::vector<RandomWeights> MakeRandomWeights(int64_t n_rows, int64_t n_cols) {
  std::mt19937_64 generator(20);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::uniform_int_distribution<int> hundred(0, 99);
  std::uniform_int_distribution<int> ternary(-1, 1);
  std::vector<RandomWeights> all = {{"Gaussian", {}},
                                    {"outliers", {}},
                                    {"ternary", {}},
                                    {"constant", {}},
                                    {"zero", {}}};
  for (int64_t row = 0; row < n_rows; ++row) {
    const float level = normal(generator);
    for (int64_t col = 0; col < n_cols; ++col) {
      all[0].weights.push_back(normal(generator));
      all[1].weights.push_back(normal(generator) *
                               (hundred(generator) == 0 ? 20.0f : 1.0f));
      all[2].weights.push_back(level * static_cast<float>(ternary(generator)));
      all[3].weights.push_back(level);
      all[4].weights.push_back(0.0f);
    }
  }
  return all;
}

std::vector<RandomImportance> MakeRandomImportances(int64_t n_cols) {
  std::mt19937_64 generator(21);
  std::lognormal_distribution<float> log_normal(0.0f, 2.0f);
  std::uniform_int_distribution<int> eight(0, 7);
  std::vector<RandomImportance> all = {
      {"uniform", std::vector<float>(n_cols, 1.0f)},
      {"log-normal", {}},
      {"with zeros", {}}};
  for (int64_t col = 0; col < n_cols; ++col) {
    const float value = log_normal(generator);
    all[1].importance.push_back(value);
    all[2].importance.push_back(eight(generator) == 0 ? 0.0f : value);
  }
  return all;
}

}  // namespace narrow
