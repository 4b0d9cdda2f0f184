#include "converter/fit/type_noise.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/solver.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Enough for two digits of the noise; whole blocks of every type and scheme.
constexpr int64_t kRows = 64;
constexpr int64_t kCols = 1024;
constexpr uint64_t kSeed = 0x9e3779b97f4a7c15;

// SplitMix64 (Steele, Lea and Flood, 2014), to the unit interval.
double NextUniform(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// Sums of twelve uniforms: normal up to six deviations, with no function of
// the C library, whose last digits differ between systems. The deviation is
// that of a usual weight, so that half-precision scales are normal numbers.
std::vector<float> NormalWeights() {
  std::vector<float> weights(static_cast<size_t>(kRows * kCols));
  uint64_t state = kSeed;
  for (float& weight : weights) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) {
      sum += NextUniform(&state);
    }
    weight = static_cast<float>(0.02 * sum);
  }
  return weights;
}

double RelativeEnergy(const std::vector<float>& weights,
                      const std::vector<float>& decoded) {
  double error = 0;
  double energy = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double e = double{weights[i]} - double{decoded[i]};
    error += e * e;
    energy += double{weights[i]} * double{weights[i]};
  }
  return error / energy;
}

}  // namespace

absl::StatusOr<double> NoiseOfType(QuantType type) {
  const BlockCodec* codec = FindCodec(type);
  if (codec == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("there is no codec for ", TypeName(type)));
  }
  const std::vector<float> weights = NormalWeights();
  const std::vector<float> ones(static_cast<size_t>(kCols), 1.0f);
  const TypeGeometry& g = Geometry(type);
  const int64_t n_blocks = kRows * kCols / g.block_weights;
  std::vector<uint8_t> bytes(static_cast<size_t>(n_blocks * g.block_bytes));
  codec->EncodeRows(weights.data(), kRows, kCols,
                    codec->uses_importance ? ones.data() : nullptr,
                    bytes.data());
  std::vector<float> decoded(weights.size());
  codec->Decode(bytes.data(), n_blocks, decoded.data());
  return RelativeEnergy(weights, decoded);
}

absl::StatusOr<double> NoiseOfScheme(const Method& method,
                                     const WeightScheme& scheme) {
  const Solver* solver = FindSolver(method.solver);
  const SolverOptions options;
  if (solver == nullptr || solver->needs(options).any()) {
    solver = FindSolver("rtn");
  }
  WeightScheme weights_alone = scheme;  // inputs are not rounded here
  weights_alone.activations = ActivationKind::kNone;
  weights_alone.column_groups = false;
  const std::vector<float> weights = NormalWeights();
  ThreadPool pool(1);
  SolverProblem problem;
  problem.name = "normal weights";
  problem.weights = weights.data();
  problem.n_rows = kRows;
  problem.n_cols = kCols;
  problem.scheme = weights_alone;
  problem.options = &options;
  problem.pool = &pool;
  ASSIGN_OR_RETURN(const SolvedMatrix solved, solver->solve(problem));
  std::vector<float> decoded(weights.size());
  DequantizeRows(solved.matrix, 0, kRows, decoded.data());
  return RelativeEnergy(weights, decoded);
}

}  // namespace narrow
