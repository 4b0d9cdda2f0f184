// Prints a line for every type with blocks: a hash of what the compensated
// solver made of a matrix. compensated_digests_test.sh compares them between
// instruction sets.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "converter/compensated/matrix/solve_tensor.h"
#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 21;
constexpr int64_t kCols = 256;

// FNV-1a.
uint64_t Hash(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) {
    hash = (hash ^ byte) * 0x100000001b3;
  }
  return hash;
}

// Sums of a few products of waves: neighbours that have much in common.
LayerStats Stats() {
  LayerStats stats;
  stats.n_cols = kCols;
  stats.n_rows = 2 * kCols;
  stats.gram.resize(kCols * kCols);
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      const double size = (i % 61 == 3 ? 3 : 1) * (j % 61 == 3 ? 3 : 1);
      const double far = static_cast<double>((i - j) * (i - j));
      stats.gram[static_cast<size_t>(i * kCols + j)] =
          size * (1 / (1 + 0.05 * far) + (i == j ? 0.02 : 0));
    }
  }
  stats.cross = stats.gram;
  for (double& value : stats.cross) {
    value *= 0.01;
  }
  return stats;
}

void Run() {
  std::vector<float> weights;
  uint64_t state = 20261123;
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    float sum = 0;
    for (int k = 0; k < 4; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state >> 48) - 32767.5f;
    }
    weights.push_back(sum * 1e-6f);
  }
  const LayerStats stats = Stats();
  ThreadPool pool(2);
  for (const BlockCodec* codec : AllCodecs()) {
    if (!SupportsCompensation(*codec)) {
      continue;
    }
    for (const int n_orders : {1, 2}) {
      CompensatedOptions options;
      options.n_orders = n_orders;
      const std::string name(TypeName(codec->type));
      CompensatedProblem problem;
      problem.name = name;
      problem.weights = weights.data();
      problem.n_rows = kRows;
      problem.n_cols = kCols;
      problem.codec = codec;
      problem.stats = &stats;
      problem.options = &options;
      problem.pool = &pool;
      const auto result = SolveCompensated(problem);
      std::printf("%s %d: %016llx\n", name.c_str(), n_orders,
                  result.ok()
                      ? static_cast<unsigned long long>(Hash(result->bytes))
                      : 0ull);
    }
  }
}

}  // namespace
}  // namespace narrow

int main() {
  narrow::Run();
  return 0;
}
