// Tokens a second on one thread. By default over the small vocabularies of
// testdata; with NARROW_TOKENIZER and NARROW_TEXT in the environment over any
// checkpoint folder and text.

#include <cstdlib>
#include <string>

#include "benchmark/benchmark.h"
#include "formats/base/file.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {
namespace {

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

void Encode(benchmark::State& state, const std::string& folder) {
  const auto tokenizer = Tokenizer::FromHfDirectory(folder);
  const auto text = ReadTextFile(
      FromEnvironment("NARROW_TEXT", "testdata/tokenizers/pipelines.json"),
      int64_t{1} << 30);
  if (!tokenizer.ok() || !text.ok()) {
    state.SkipWithError("no tokenizer or no text");
    return;
  }
  int64_t n_tokens = 0;
  for (auto _ : state) {
    const auto ids = (*tokenizer)->Encode(*text);
    n_tokens += static_cast<int64_t>(ids.size());
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetItemsProcessed(n_tokens);
}

void BM_Encode(benchmark::State& state) {
  Encode(state,
         FromEnvironment("NARROW_TOKENIZER", "testdata/tokenizers/llama"));
}
BENCHMARK(BM_Encode)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace narrow
