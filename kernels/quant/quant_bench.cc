// Speed of every codec in every instruction set, as bytes of float32 weights
// a second on one thread:
//
//   bazel run -c opt //kernels/quant:quant_bench --
//       --benchmark_min_time=0.5 --benchmark_filter=q4_k

#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/cpu.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

// A megabyte: more than one core's caches of the first levels, and less than
// a second for the slowest plain encoder.
constexpr int64_t kRows = 64;
constexpr int64_t kCols = 4096;

int64_t EncodedBytes(const BlockCodec& codec) {
  return kRows * kCols / codec.block * Geometry(codec.type).block_bytes;
}

void SetRate(benchmark::State* state) {
  state->SetBytesProcessed(state->iterations() * kRows * kCols * 4);
}

void BenchmarkEncode(benchmark::State& state, const BlockCodec* codec, Isa isa,
                     ImportanceKind kind) {
  const auto weights = TestWeights(Distribution::kNormal, kRows, kCols);
  const auto importance = TestImportance(kind, kCols);
  std::vector<uint8_t> bytes(EncodedBytes(*codec));
  const EncodeRowsFn encode = codec->encode_for(isa);
  for (auto _ : state) {
    encode(weights.data(), kRows, kCols,
           importance.empty() ? nullptr : importance.data(), bytes.data());
    benchmark::DoNotOptimize(bytes.data());
    benchmark::ClobberMemory();
  }
  SetRate(&state);
}

void BenchmarkDecode(benchmark::State& state, const BlockCodec* codec,
                     Isa isa) {
  auto weights = TestWeights(Distribution::kNormal, kRows, kCols);
  std::vector<uint8_t> bytes(EncodedBytes(*codec));
  codec->EncodeRows(weights.data(), kRows, kCols, nullptr, bytes.data());
  const DecodeFn decode = codec->decode_for(isa);
  for (auto _ : state) {
    decode(bytes.data(), kRows * kCols / codec->block, weights.data());
    benchmark::DoNotOptimize(weights.data());
    benchmark::ClobberMemory();
  }
  SetRate(&state);
}

void RegisterAll() {
  for (const BlockCodec* codec : AllCodecs()) {
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
      if (isa > CpuIsa()) {
        continue;
      }
      const std::string name = std::string(TypeName(codec->type)) + "/" +
                               std::string(IsaName(isa)) + "/";
      benchmark::RegisterBenchmark((name + "encode").c_str(), BenchmarkEncode,
                                   codec, isa, ImportanceKind::kNone);
      if (codec->uses_importance) {
        benchmark::RegisterBenchmark((name + "encode_importance").c_str(),
                                     BenchmarkEncode, codec, isa,
                                     ImportanceKind::kVaried);
      }
      benchmark::RegisterBenchmark((name + "decode").c_str(), BenchmarkDecode,
                                   codec, isa);
    }
  }
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  narrow::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
