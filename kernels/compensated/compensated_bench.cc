// Feedback and descent on a matrix of 128 x 1024, by one thread, for every
// type with blocks. Items are weights a second; both take some number of
// multiply-adds a column as well as what fitting and rounding do.

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 128;
constexpr int64_t kCols = 1024;

std::vector<float> Waves() {
  std::vector<float> values(kRows * kCols);
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = static_cast<float>(i);
    values[i] = std::sin(x * 0.7f) + 0.5f * std::cos(x * x * 0.013f);
  }
  return values;
}

// Of neighbours that resemble each other.
std::vector<double> Gram() {
  std::vector<double> gram(kCols * kCols);
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      gram[static_cast<size_t>(i * kCols + j)] =
          std::pow(0.9, static_cast<double>(std::abs(i - j)));
    }
  }
  return gram;
}

std::vector<uint8_t> MakeBytes(const BlockCodec& codec) {
  return std::vector<uint8_t>(static_cast<size_t>(
      kRows * kCols / codec.block * Geometry(codec.type).block_bytes));
}

void FeedBench(benchmark::State& state, const BlockCodec* codec) {
  std::vector<double> r = Gram();
  FactorUpper(nullptr, kCols, r.data());
  const FeedFactor factor =
      MakeFeedFactor(nullptr, *codec, kCols, r.data(), 1.0);
  const std::vector<float> weights = Waves();
  std::vector<uint8_t> bytes = MakeBytes(*codec);
  for (auto _ : state) {
    FeedRows(*codec, weights.data(), kRows, factor, {}, bytes.data(), nullptr);
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

void DescendBench(benchmark::State& state, const BlockCodec* codec) {
  const std::vector<double> gram = Gram();
  const std::vector<float> floats(gram.begin(), gram.end());
  const std::vector<float> weights = Waves();
  std::vector<uint8_t> start = MakeBytes(*codec);
  const std::vector<float> importance(kCols, 1.0f);
  codec->EncodeRows(weights.data(), kRows, kCols, importance.data(),
                    start.data());
  for (auto _ : state) {
    std::vector<uint8_t> bytes = start;
    DescendRows(*codec, weights.data(), kRows, kCols, floats.data(), {},
                bytes.data(), nullptr);
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  for (const narrow::BlockCodec* codec : narrow::AllCodecs()) {
    if (!narrow::SupportsCompensation(*codec)) {
      continue;
    }
    const std::string name(narrow::TypeName(codec->type));
    benchmark::RegisterBenchmark(("feed/" + name).c_str(), narrow::FeedBench,
                                 codec);
    benchmark::RegisterBenchmark(("descend/" + name).c_str(),
                                 narrow::DescendBench, codec);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
