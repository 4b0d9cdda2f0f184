// Prints a line for every solver and scheme: a hash of what the solver made of
// it. solver_digests_test.sh compares them between instruction sets.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "converter/solvers/solver.h"
#include "converter/solvers/test_problems.h"

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261123;
constexpr int64_t kRows = 37;
constexpr int64_t kCols = 192;

// FNV-1a.
template <typename T>
void Hash(const std::vector<T>& values, uint64_t* hash) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) {
    *hash = (*hash ^ bytes[i]) * 0x100000001b3;
  }
}

void Print(const Solver& solver, const SchemeCase& c,
           const SolverProblem& problem) {
  const auto solved = solver.solve(problem);
  if (!solved.ok()) {
    std::printf("%s %s: %s\n", solver.name, c.name,
                solved.status().ToString().c_str());
    return;
  }
  uint64_t hash = 0xcbf29ce484222325;
  Hash(solved->matrix.codes, &hash);
  Hash(solved->matrix.scales, &hash);
  Hash(solved->matrix.zeros, &hash);
  Hash(solved->matrix.group_of_column, &hash);
  std::printf("%s %s: %016llx\n", solver.name, c.name,
              static_cast<unsigned long long>(hash));
}

void Run() {
  const std::vector<float> weights = TestWeights(kRows * kCols, kSeed);
  LayerStats stats = TestStats(kCols, 2 * kCols, kSeed);
  stats.cross = stats.gram;
  for (double& value : stats.cross) {
    value *= 0.01;
  }
  const std::vector<double> moments =
      TestStats(kRows, 2 * kRows, kSeed + 1).gram;
  ThreadPool pool(2);
  for (const bool other : {false, true}) {
    SolverOptions options;
    options.static_groups = !other;
    options.drift = other ? 0.5 : 0;
    std::vector<SchemeCase> cases = TestSchemes();
    for (const SchemeCase& c : FlatTestSchemes()) {
      cases.push_back(c);
    }
    for (const SchemeCase& c : cases) {
      options.order = c.scheme.column_groups
                          ? SolverOptions::ColumnOrder::kDescendingDynamic
                          : SolverOptions::ColumnOrder::kDescending;
      SolverProblem problem;
      problem.name = c.name;
      problem.weights = weights.data();
      problem.n_rows = kRows;
      problem.n_cols = kCols;
      problem.scheme = c.scheme;
      problem.stats = &stats;
      problem.output_moments = other ? moments.data() : nullptr;
      problem.options = &options;
      problem.pool = &pool;
      for (const Solver* solver : AllSolvers()) {
        if (solver->supports(c.scheme, options).ok()) {
          Print(*solver, c, problem);
        }
      }
    }
  }
}

}  // namespace
}  // namespace narrow

int main() {
  narrow::Run();
  return 0;
}
