// Tokens a second of the forward pass with scores of each window's second
// half, as perplexity measures it, and where the time goes.
//
//   runner_bench MODEL [fast|exact|reproducible] [threads] [windows] [tokens a
//   window]
//
// Token ids are drawn at random: the time does not depend on them. Without
// arguments, which is how `bazel test` runs it, one small window of a fixture.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/model_runner.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

struct Settings {
  std::string model = "testdata/arch/gemma3_text";
  Precision precision = Precision::kFast;
  std::string precision_name = "fast";
  int n_threads = 2;
  int64_t n_windows = 1;
  int64_t window_tokens = 64;
};

Precision PrecisionOf(const std::string& name) {
  if (name == "exact") {
    return Precision::kExact;
  }
  return name == "reproducible" ? Precision::kReproducible : Precision::kFast;
}

absl::Status Measure(ModelRunner* runner, const Settings& settings) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int32_t> token(
      0, static_cast<int32_t>(runner->vocab_size()) - 1);
  std::vector<int32_t> ids(
      static_cast<size_t>(settings.n_windows * settings.window_tokens));
  std::generate(ids.begin(), ids.end(), [&] { return token(random); });

  HiddenStates hidden;
  RETURN_IF_ERROR(runner->Embed(ids, settings.window_tokens, &hidden));
  for (int64_t i = 0; i < runner->n_blocks(); ++i) {
    RETURN_IF_ERROR(runner->RunBlock(i, nullptr, &hidden));
  }
  RETURN_IF_ERROR(runner->FinalNorm(&hidden));
  const int64_t half = settings.window_tokens / 2;
  std::vector<float> rows;
  for (int64_t w = 0; w < settings.n_windows; ++w) {
    rows.insert(rows.end(), hidden.row(w, half), hidden.row(w + 1, 0));
  }
  const int64_t n_rows = settings.n_windows * (settings.window_tokens - half);
  std::vector<TokenScore> scores(static_cast<size_t>(n_rows));
  return runner->LogProbs(rows.data(), n_rows, ids.data(), scores.data());
}

absl::Status Run(const Settings& settings) {
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(settings.model, checkpoint_options));
  RunnerTimes times;
  RunnerOptions options;
  options.precision = settings.precision;
  options.n_threads = settings.n_threads;
  options.times = &times;
  ASSIGN_OR_RETURN(const auto runner,
                   ModelRunner::Create(model.get(), options));
  // The second round finds decoded weights, as all groups but the first do.
  for (const char* round : {"first", "second"}) {
    times = RunnerTimes();
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(Measure(runner.get(), settings));
    const std::chrono::duration<double> passed =
        std::chrono::steady_clock::now() - start;
    const double total = passed.count();
    std::printf(
        "%s %s, %d threads, %s group of %ld x %ld: %.0f tokens/s\n",
        settings.model.c_str(), settings.precision_name.c_str(),
        settings.n_threads, round, static_cast<long>(settings.n_windows),
        static_cast<long>(settings.window_tokens),
        static_cast<double>(settings.n_windows * settings.window_tokens) /
            total);
    const std::pair<const char*, double> parts[] = {
        {"embed", times.embed},
        {"weights", times.weights},
        {"qkv", times.qkv},
        {"attention", times.attention},
        {"attention output", times.attention_output},
        {"feed-forward", times.feed_forward},
        {"output", times.output}};
    for (const auto& [name, seconds] : parts) {
      std::printf("  %-16s %7.3f s %5.1f %%\n", name, seconds,
                  100 * seconds / total);
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  narrow::Settings settings;
  if (argc > 1) {
    settings.model = argv[1];
    settings.precision_name = argc > 2 ? argv[2] : "fast";
    settings.precision = narrow::PrecisionOf(settings.precision_name);
    settings.n_threads = argc > 3 ? std::atoi(argv[3]) : 2;
    settings.n_windows = argc > 4 ? std::max(1, std::atoi(argv[4])) : 8;
    settings.window_tokens = argc > 5 ? std::max(2, std::atoi(argv[5])) : 512;
  }
  const absl::Status status = narrow::Run(settings);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
