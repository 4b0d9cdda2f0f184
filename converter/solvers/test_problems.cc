#include "converter/solvers/test_problems.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

namespace narrow {

WeightScheme TestScheme(CodeKind code, int bits, ZeroKind zero,
                        int64_t block_rows, int64_t block_cols,
                        QuantType scale) {
  WeightScheme scheme;
  scheme.code = code;
  scheme.bits = bits;
  scheme.zero = zero;
  scheme.block_rows = block_rows;
  scheme.block_cols = block_cols;
  scheme.scale_type = scale;
  return scheme;
}

std::vector<SchemeCase> TestSchemes() {
  using K = CodeKind;
  using Z = ZeroKind;
  using Q = QuantType;
  std::vector<SchemeCase> cases = {
      {"int4_g128", TestScheme(K::kInteger, 4, Z::kNone, 1, 128, Q::kF16)},
      {"int4_g64_zero",
       TestScheme(K::kInteger, 4, Z::kInteger, 1, 64, Q::kF16)},
      {"int3_g32", TestScheme(K::kInteger, 3, Z::kNone, 1, 32, Q::kBF16)},
      {"int2_g48_zero",
       TestScheme(K::kInteger, 2, Z::kInteger, 1, 48, Q::kF16)},
      {"int8_rows", TestScheme(K::kInteger, 8, Z::kNone, 1, 0, Q::kF32)},
      {"int4_rows", TestScheme(K::kInteger, 4, Z::kNone, 1, 0, Q::kF16)},
      {"int8_tensor", TestScheme(K::kInteger, 8, Z::kNone, 0, 0, Q::kF32)},
      {"fp8_rows", TestScheme(K::kE4M3, 8, Z::kNone, 1, 0, Q::kBF16)},
      {"fp8_blocks", TestScheme(K::kE4M3, 8, Z::kNone, 128, 128, Q::kF32)},
      {"mxfp4", TestScheme(K::kE2M1, 4, Z::kNone, 1, 32, Q::kF8E8M0)},
      {"nvfp4", TestScheme(K::kE2M1, 4, Z::kNone, 1, 16, Q::kF8E4M3)},
      {"hqq4", TestScheme(K::kInteger, 4, Z::kFloat, 1, 64, Q::kBF16)},
      {"int4_act_order", TestScheme(K::kInteger, 4, Z::kNone, 1, 64, Q::kF16)},
  };
  for (SchemeCase& c : cases) {
    c.scheme.global_scale = std::string(c.name) == "nvfp4";
    c.scheme.column_groups = std::string(c.name) == "int4_act_order";
  }
  return cases;
}

std::vector<SchemeCase> FlatTestSchemes() {
  using K = CodeKind;
  using Z = ZeroKind;
  using Q = QuantType;
  const auto flat = [](WeightScheme scheme) {
    scheme.flat = true;
    return scheme;
  };
  std::vector<SchemeCase> cases = {
      {"nf4", flat(TestScheme(K::kNf4, 4, Z::kNone, 1, 64, Q::kF32))},
      {"fp4", flat(TestScheme(K::kFp4, 4, Z::kNone, 1, 32, Q::kF32))},
      // Of 192 or 256 columns: blocks that go on in the next rows.
      {"nf4_across", flat(TestScheme(K::kNf4, 4, Z::kNone, 1, 512, Q::kF32))},
      {"nf4_nested", flat(TestScheme(K::kNf4, 4, Z::kNone, 1, 64, Q::kF32))},
      {"hqq3", flat(TestScheme(K::kInteger, 3, Z::kFloat, 1, 64, Q::kF16))},
      {"hqq4_across",
       flat(TestScheme(K::kInteger, 4, Z::kFloat, 1, 80, Q::kBF16))},
      {"llm_int8", TestScheme(K::kInteger, 8, Z::kNone, 1, 0, Q::kF32)},
  };
  for (SchemeCase& c : cases) {
    const std::string name = c.name;
    c.scheme.nested_scales = name == "nf4_nested";
    c.scheme.scale_unit = name == "llm_int8" ? 1.0f / 127 : 1.0f;
  }
  return cases;
}

std::vector<float> TestWeights(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.03f);
  std::vector<float> weights(static_cast<size_t>(n));
  for (float& w : weights) {
    w = normal(random) * (random() % 97 == 0 ? 5.0f : 1.0f);
  }
  return weights;
}

LayerStats TestStats(int64_t n_cols, int64_t n_rows, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  LayerStats stats;
  stats.n_cols = n_cols;
  stats.n_rows = n_rows;
  const size_t n = static_cast<size_t>(n_cols);
  stats.sum_sq.assign(n, 0);
  stats.sum_abs.assign(n, 0);
  stats.max_abs.assign(n, 0);
  stats.gram.assign(n * n, 0);
  std::vector<double> x(n);
  for (int64_t row = 0; row < n_rows; ++row) {
    const double common[3] = {normal(random), normal(random), normal(random)};
    for (size_t i = 0; i < n; ++i) {
      x[i] = (normal(random) + common[i % 3]) * (i % 31 == 0 ? 6 : 1);
      stats.sum_sq[i] += x[i] * x[i];
      stats.sum_abs[i] += std::abs(x[i]);
      stats.max_abs[i] =
          std::max(stats.max_abs[i], static_cast<float>(std::abs(x[i])));
    }
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) {
        stats.gram[i * n + j] += x[i] * x[j];
      }
    }
  }
  return stats;
}

}  // namespace narrow
