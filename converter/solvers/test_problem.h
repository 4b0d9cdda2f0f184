// A matrix of random weights with all that a SolverProblem points at, for
// tests.
//
//   TestProblem test(24, 96);
//   test.problem.scheme = ...;
//   auto solved = kHqqSolver.solve(test.problem);

#ifndef NARROW_CONVERTER_SOLVERS_TEST_PROBLEM_H_
#define NARROW_CONVERTER_SOLVERS_TEST_PROBLEM_H_

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "converter/solvers/solver.h"

namespace narrow {

struct TestProblem {
  TestProblem(int64_t n_rows, int64_t n_cols, float spread = 0.05f,
              uint32_t seed = 5)
      : pool(2) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    weights.resize(static_cast<size_t>(n_rows * n_cols));
    for (float& weight : weights) {
      weight = spread * normal(random) * std::exp(0.3f * normal(random));
    }
    importance.resize(static_cast<size_t>(n_cols));
    for (float& value : importance) {
      value = std::exp(2 * normal(random));
    }
    problem.name = "w";
    problem.weights = weights.data();
    problem.n_rows = n_rows;
    problem.n_cols = n_cols;
    problem.options = &options;
    problem.pool = &pool;
  }

  // Sum of (importance times) squared errors of what `matrix` decodes to.
  double Error(const QuantizedMatrix& matrix, bool weighted = false) const {
    std::vector<float> decoded(weights.size());
    DequantizeRows(matrix, 0, problem.n_rows, decoded.data());
    double sum = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      const double miss = double{weights[i]} - double{decoded[i]};
      const size_t col = i % static_cast<size_t>(problem.n_cols);
      sum += miss * miss * (weighted ? double{importance[col]} : 1.0);
    }
    return sum;
  }
  double Energy() const {
    double sum = 0;
    for (const float weight : weights) {
      sum += double{weight} * double{weight};
    }
    return sum;
  }

  std::vector<float> weights;
  std::vector<float> importance;
  SolverOptions options;
  ThreadPool pool;
  SolverProblem problem;
};

// The options that give the peers' own results.
inline SolverOptions AsPeers() {
  SolverOptions options;
  options.scale_search = false;
  options.weighted_fit = false;
  options.refit = false;
  options.sweep = false;
  options.hqq_keep_best = false;
  options.hqq_beta_growth = 1;
  return options;
}

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_TEST_PROBLEM_H_
