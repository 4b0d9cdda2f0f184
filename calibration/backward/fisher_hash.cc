// Prints a checksum of token weights, labels and moments, of random windows;
// for calibration/reproducible_test.sh.
//
//   fisher_hash THREADS MODEL...

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/backward/fisher_weights.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kSamples = 3;
constexpr int64_t kSampleTokens = 70;  // more than a tile of queries

template <typename T>
void AddAll(const std::vector<T>& values, Checksum* sum) {
  sum->Add(values.data(), values.size() * sizeof(T));
}

absl::Status Print(const std::string& path, int n_threads) {
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(path, checkpoint_options));
  CalibrationSamples samples;
  samples.sample_tokens = kSampleTokens;
  for (int64_t i = 0; i < kSamples * kSampleTokens; ++i) {
    samples.ids.push_back(static_cast<int32_t>((i * i * 31 + i * 7) %
                                               model->config().vocab_size));
    samples.counts.push_back(i % 17 != 3 ? 1 : 0);
  }
  FisherOptions options;
  options.n_threads = n_threads;
  options.power = 0.75;
  options.max_moment_outputs = 64;
  ASSIGN_OR_RETURN(const FisherWeights fisher,
                   ComputeFisherWeights(model.get(), samples, options, {}));
  Checksum weights, labels, moments;
  for (const auto& [name, values] : fisher.tokens.layers) {
    AddAll(*values, &weights);
    if (fisher.moments->Has(name, -1)) {
      ASSIGN_OR_RETURN(const auto moment, fisher.moments->Read(name, -1));
      AddAll(moment, &moments);
    }
  }
  for (const auto& [key, values] : fisher.tokens.experts) {
    AddAll(values->tokens, &weights);
    AddAll(values->weights, &weights);
  }
  AddAll(fisher.labels, &labels);
  labels.Add(&fisher.mean_loss, sizeof(fisher.mean_loss));
  std::printf("%s: weights %016lx labels %016lx moments %016lx\n", path.c_str(),
              static_cast<unsigned long>(weights.value()),
              static_cast<unsigned long>(labels.value()),
              static_cast<unsigned long>(moments.value()));
  return absl::OkStatus();
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  for (int i = 2; i < argc; ++i) {
    const absl::Status status = narrow::Print(argv[i], std::atoi(argv[1]));
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return argc > 2 ? 0 : 2;
}
