// Prints a checksum of the statistics of two blocks, of random windows, with
// the first block replaced, in reproducible precision; for
// calibration/reproducible_test.sh.
//
//   stats_hash THREADS MODEL...

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "calibration/blockwise/block_calibrator.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Rows that count are more than a block of a Gram matrix.
constexpr int64_t kSamples = 4;
constexpr int64_t kSampleTokens = 70;  // more than a tile of queries

template <typename T>
void AddAll(const std::vector<T>& values, Checksum* sum) {
  sum->Add(values.data(), values.size() * sizeof(T));
}

void AddStats(const BlockStats& stats, Checksum* sum) {
  for (const auto& [key, s] : stats.layers) {
    sum->Add(key.first.data(), key.first.size());
    sum->Add(s->n_rows);
    AddAll(s->sum_sq, sum);
    AddAll(s->sum_abs, sum);
    AddAll(s->max_abs, sum);
    AddAll(s->gram, sum);
    AddAll(s->cross, sum);
    AddAll(s->residual, sum);
    sum->Add(&s->weight, sizeof(s->weight));
    if (s->held_out != nullptr) {
      AddAll(s->held_out->inputs, sum);
      AddAll(s->held_out->originals, sum);
      AddAll(s->held_out->residual, sum);
    }
  }
}

// Shows cruder weights for the first block.
absl::Status Coarsen(OverlaySource* overlay,
                     const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const TensorView* view = overlay->Find(name);
    std::vector<float> values(static_cast<size_t>(view->meta.n_elements()));
    RETURN_IF_ERROR(
        view->rows->ReadRows(0, view->meta.n_rows(), values.data()));
    for (float& value : values) {
      value = std::nearbyint(value * 8) / 8;
    }
    RETURN_IF_ERROR(overlay->Replace(name, std::move(values)));
  }
  return absl::OkStatus();
}

// Site by site, with token weights, one sample of four held out.
absl::Status AddSites(BlockCalibrator* calibrator,
                      const CalibrationSamples& samples, Checksum* sum) {
  ObserveRequest request;
  request.needs.gram = request.needs.cross = request.needs.residual = true;
  request.held_out_every = kSamples;
  request.held_out_rows = 20;
  for (const std::vector<std::string>& names : calibrator->SitesOfBlock()) {
    TokenWeights weights;
    for (const std::string& name : names) {
      auto values = std::make_shared<TokenWeights::Values>();
      for (size_t i = 0; i < samples.ids.size(); ++i) {
        values->push_back(static_cast<float>((i * i + name.size()) % 19) / 9);
      }
      weights.layers[name] = values;
    }
    request.weights = &weights;
    request.layers = names;
    ASSIGN_OR_RETURN(const BlockStats stats, calibrator->Observe(request, {}));
    AddStats(stats, sum);
  }
  return absl::OkStatus();
}

absl::Status Print(const std::string& path, int n_threads) {
  OverlaySource* overlay = nullptr;
  std::vector<std::string> names;
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  checkpoint_options.intermediate = "exact";
  checkpoint_options.wrap_source = [&](std::unique_ptr<TensorSource> inner) {
    for (const TensorView& view : inner->tensors()) {
      if (view.meta.shape.size() == 2 &&
          absl::StrContains(view.meta.name, "layers.0.")) {
        names.push_back(view.meta.name);
      }
    }
    auto made = std::make_unique<OverlaySource>(std::move(inner), names);
    overlay = made.get();
    return made;
  };
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(path, checkpoint_options));
  CalibrationSamples samples;
  samples.sample_tokens = kSampleTokens;
  for (int64_t i = 0; i < kSamples * kSampleTokens; ++i) {
    samples.ids.push_back(static_cast<int32_t>((i * i * 31 + i * 7) %
                                               model->config().vocab_size));
    samples.counts.push_back(i % 17 != 3 ? 1 : 0);
  }
  CalibrationOptions options;
  options.runner.n_threads = n_threads;
  StatsNeeds needs;
  needs.gram = needs.cross = true;
  ASSIGN_OR_RETURN(
      const auto calibrator,
      BlockCalibrator::Create(model.get(), overlay, samples, options));
  Checksum sum;
  // The second block sees the drift.
  while (calibrator->next_block() < 2) {
    ASSIGN_OR_RETURN(const BlockStats stats, calibrator->Observe(needs, {}));
    AddStats(stats, &sum);
    RETURN_IF_ERROR(AddSites(calibrator.get(), samples, &sum));
    if (calibrator->next_block() == 0) {
      RETURN_IF_ERROR(Coarsen(overlay, names));
    }
    RETURN_IF_ERROR(calibrator->Advance({}));
  }
  std::printf("%s: statistics %016lx\n", path.c_str(),
              static_cast<unsigned long>(sum.value()));
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
