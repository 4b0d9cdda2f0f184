// Tokens a second of observing blocks, beside the blocks alone.
//
//   calibrator_bench MODEL [columns|gram|cross|sites|weights]
//     [reproducible|exact|fast] [threads] [samples] [tokens a sample]
//     [MiB of hidden states in memory] [blocks]
//
// sites: cross moments and residuals, site by site, an eighth of the samples
// held out; weights: the same with other token weights for every layer.
// Token ids are drawn at random: the time does not depend on them. Without
// arguments, which is how `bazel test` runs it, two small samples of a
// fixture.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/blockwise/block_calibrator.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

struct Settings {
  std::string model = "testdata/arch/gemma3_text";
  std::string needs = "gram";
  std::string precision = "reproducible";
  int n_threads = 2;
  int64_t n_samples = 2;
  int64_t sample_tokens = 64;
  int64_t hidden_mib = 4096;
  int64_t n_blocks = 1 << 20;
};

double PeakMib() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Of all threads, in user mode: on a machine with other work it says more
// than the time that passed.
double ProcessorSeconds() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
}

class Timer {
 public:
  void AddTo(double* seconds, double* processor_seconds) const {
    *seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_)
            .count();
    *processor_seconds += ProcessorSeconds() - processor_start_;
  }

 private:
  const std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
  const double processor_start_ = ProcessorSeconds();
};

// Other weights for every layer of the present block.
TokenWeights SomeWeights(const BlockCalibrator& calibrator,
                         const CalibrationSamples& samples) {
  TokenWeights weights;
  for (const std::vector<std::string>& names : calibrator.SitesOfBlock()) {
    for (const std::string& name : names) {
      weights.layers[name] = std::make_shared<TokenWeights::Values>(
          samples.ids.size(),
          1 + static_cast<float>(weights.layers.size()) / 8);
    }
  }
  return weights;
}

absl::Status Run(const Settings& settings) {
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(settings.model, checkpoint_options));
  CalibrationSamples samples;
  samples.sample_tokens = settings.sample_tokens;
  std::mt19937 random(1);
  for (int64_t i = 0; i < settings.n_samples * settings.sample_tokens; ++i) {
    samples.ids.push_back(static_cast<int32_t>(
        random() % static_cast<uint32_t>(model->config().vocab_size)));
    samples.counts.push_back(1);
  }
  CalibrationOptions options;
  options.hidden_bytes = settings.hidden_mib << 20;
  options.runner.n_threads = settings.n_threads;
  options.runner.precision = settings.precision == "exact" ? Precision::kExact
                             : settings.precision == "fast"
                                 ? Precision::kFast
                                 : Precision::kReproducible;
  ObserveRequest request;
  request.needs.columns = true;
  request.needs.gram = settings.needs != "columns";
  const bool by_site = settings.needs == "sites" || settings.needs == "weights";
  request.needs.cross = by_site || settings.needs == "cross";
  request.needs.residual = by_site;
  request.held_out_every = by_site ? 8 : 0;
  options.keep_original = request.needs.original();
  ASSIGN_OR_RETURN(
      const auto calibrator,
      BlockCalibrator::Create(model.get(), nullptr, samples, options));
  double observing = 0, advancing = 0;
  double processor_observing = 0, processor_advancing = 0;
  const int64_t n_blocks = std::min(settings.n_blocks, calibrator->n_blocks());
  while (calibrator->next_block() < n_blocks) {
    const TokenWeights weights = SomeWeights(*calibrator, samples);
    request.weights = settings.needs == "weights" ? &weights : nullptr;
    const Timer observe;
    if (by_site) {
      for (const std::vector<std::string>& names : calibrator->SitesOfBlock()) {
        request.layers = names;
        RETURN_IF_ERROR(calibrator->Observe(request, {}).status());
      }
    } else {
      RETURN_IF_ERROR(calibrator->Observe(request, {}).status());
    }
    observe.AddTo(&observing, &processor_observing);
    const Timer advance;
    RETURN_IF_ERROR(calibrator->Advance({}));
    advance.AddTo(&advancing, &processor_advancing);
  }
  // A pass of both streams where cross moments are asked for.
  const double n_tokens = static_cast<double>(samples.ids.size());
  std::printf(
      "%s %s %s, %d threads, %ld x %ld, %ld blocks, %ld MiB: observe %.2f s "
      "(%.0f tokens/s), advance %.2f s (%.0f tokens/s), ratio %.2f; processor "
      "%.2f s, %.2f s, ratio %.2f; "
      "peak %.0f MiB\n",
      settings.model.c_str(), settings.needs.c_str(),
      settings.precision.c_str(), settings.n_threads,
      static_cast<long>(settings.n_samples),
      static_cast<long>(settings.sample_tokens), static_cast<long>(n_blocks),
      static_cast<long>(settings.hidden_mib), observing, n_tokens / observing,
      advancing, n_tokens / advancing, observing / advancing,
      processor_observing, processor_advancing,
      processor_observing / processor_advancing, PeakMib());
  return absl::OkStatus();
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  narrow::Settings settings;
  const auto number = [&](int i, int64_t otherwise) {
    return argc > i ? std::max<int64_t>(1, std::atoll(argv[i])) : otherwise;
  };
  if (argc > 1) {
    settings.model = argv[1];
    settings.needs = argc > 2 ? argv[2] : "gram";
    settings.precision = argc > 3 ? argv[3] : "reproducible";
    settings.n_threads = static_cast<int>(number(4, 2));
    settings.n_samples = number(5, 128);
    settings.sample_tokens = number(6, 512);
    settings.hidden_mib = number(7, 4096);
    settings.n_blocks = number(8, settings.n_blocks);
  }
  const absl::Status status = narrow::Run(settings);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
