// Prints a checksum of the hidden states after the final norm, of the scores
// and of the logits, of random windows in reproducible precision; for
// reproducible_test.sh.
//
//   hidden_hash THREADS MODEL...

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/model_runner.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kWindows = 2;
constexpr int64_t kWindowTokens = 70;  // more than a tile of queries

template <typename T>
void Add(const T* values, size_t n, Fingerprint* hash) {
  hash->Add(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values),
                                n * sizeof(T)));
}

absl::Status Print(const std::string& path, int n_threads) {
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(path, checkpoint_options));
  RunnerOptions options;
  options.precision = Precision::kReproducible;
  options.n_threads = n_threads;
  ASSIGN_OR_RETURN(const auto runner,
                   ModelRunner::Create(model.get(), options));
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kWindows * kWindowTokens; ++i) {
    ids.push_back(
        static_cast<int32_t>((i * i * 31 + i * 7) % runner->vocab_size()));
  }
  HiddenStates hidden;
  RETURN_IF_ERROR(runner->Embed(ids, kWindowTokens, &hidden));
  for (int64_t i = 0; i < runner->n_blocks(); ++i) {
    RETURN_IF_ERROR(runner->RunBlock(i, nullptr, &hidden));
  }
  Fingerprint blocks, scores, logits;
  Add(hidden.values.data(), hidden.values.size(), &blocks);
  RETURN_IF_ERROR(runner->FinalNorm(&hidden));
  const int64_t n_rows = kWindows * kWindowTokens;
  std::vector<TokenScore> results(ids.size());
  RETURN_IF_ERROR(runner->LogProbs(hidden.values.data(), n_rows, ids.data(),
                                   results.data()));
  for (const TokenScore& result : results) {
    Add(&result.log_prob, 1, &scores);
    Add(&result.top_token, 1, &scores);
  }
  std::vector<float> values(static_cast<size_t>(runner->vocab_size()) * 4);
  RETURN_IF_ERROR(runner->Logits(hidden.values.data(), 4, values.data()));
  Add(values.data(), values.size(), &logits);
  std::printf("%s: hidden %016lx scores %016lx logits %016lx\n", path.c_str(),
              static_cast<unsigned long>(blocks.value()),
              static_cast<unsigned long>(scores.value()),
              static_cast<unsigned long>(logits.value()));
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
