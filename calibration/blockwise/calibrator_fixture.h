// Small models whose matrices can be replaced, random samples for them, and
// comparisons; for the tests of BlockCalibrator.

#ifndef NARROW_CALIBRATION_BLOCKWISE_CALIBRATOR_FIXTURE_H_
#define NARROW_CALIBRATION_BLOCKWISE_CALIBRATOR_FIXTURE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/blockwise/block_calibrator.h"

namespace narrow {

inline constexpr int64_t kTokens = 24;
inline constexpr int64_t kSamples = 25;

struct Opened {
  std::unique_ptr<Checkpoint> model;
  OverlaySource* overlay = nullptr;
  std::vector<std::string> matrices;  // that can be replaced
};

inline Opened Open(const std::string& path) {
  Opened opened;
  CheckpointOptions options;
  options.skip_tokenizer = true;
  options.intermediate = "exact";
  options.wrap_source = [&opened](std::unique_ptr<TensorSource> inner) {
    for (const TensorView& view : inner->tensors()) {
      if (view.meta.shape.size() == 2 &&
          absl::StrContains(view.meta.name, "layers.")) {
        opened.matrices.push_back(view.meta.name);
      }
    }
    auto overlay =
        std::make_unique<OverlaySource>(std::move(inner), opened.matrices);
    opened.overlay = overlay.get();
    return overlay;
  };
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (model.ok()) {
    opened.model = *std::move(model);
  }
  return opened;
}

inline CalibrationSamples SomeSamples(const Checkpoint& model,
                                      int64_t n_samples = kSamples) {
  CalibrationSamples samples;
  samples.sample_tokens = kTokens;
  std::mt19937 random(5);
  for (int64_t i = 0; i < n_samples * kTokens; ++i) {
    samples.ids.push_back(static_cast<int32_t>(
        random() % static_cast<uint32_t>(model.config().vocab_size)));
    // Some samples are padded, some tokens masked.
    const int64_t sample = i / kTokens, token = i % kTokens;
    const bool padding = sample % 4 == 1 && token >= 17;
    samples.counts.push_back(padding || (sample % 4 == 2 && token < 5) ? 0 : 1);
  }
  return samples;
}

inline CalibrationOptions Exact(int n_threads) {
  CalibrationOptions options;
  options.runner.n_threads = n_threads;
  return options;
}

inline StatsNeeds Gram(bool cross = false) {
  StatsNeeds needs;
  needs.gram = true;
  needs.cross = cross;
  return needs;
}

inline std::unique_ptr<BlockCalibrator> Create(
    const Opened& opened, const CalibrationSamples& samples,
    const CalibrationOptions& options) {
  auto calibrator = BlockCalibrator::Create(opened.model.get(), opened.overlay,
                                            samples, options);
  EXPECT_TRUE(calibrator.ok()) << calibrator.status();
  return calibrator.ok() ? *std::move(calibrator) : nullptr;
}

inline BlockStats Observe(BlockCalibrator* calibrator,
                          const StatsNeeds& needs) {
  auto stats = calibrator->Observe(needs, {});
  EXPECT_TRUE(stats.ok()) << stats.status();
  return stats.ok() ? *std::move(stats) : BlockStats();
}

inline void Advance(BlockCalibrator* calibrator) {
  const absl::Status status = calibrator->Advance({});
  ASSERT_TRUE(status.ok()) << status;
}

// Replaces the matrices of a block, those whose name contains `part`, by
// cruder ones.
inline void Coarsen(const Opened& opened, int64_t block,
                    const std::string& part = "") {
  for (const std::string& name : opened.matrices) {
    if (!absl::StrContains(name, absl::StrCat("layers.", block, ".")) ||
        !absl::StrContains(name, part)) {
      continue;
    }
    const TensorView* view = opened.overlay->Find(name);
    std::vector<float> values(static_cast<size_t>(view->meta.n_elements()));
    ASSERT_TRUE(
        view->rows->ReadRows(0, view->meta.n_rows(), values.data()).ok());
    for (float& value : values) {
      value = std::nearbyint(value * 8) / 8;
    }
    ASSERT_TRUE(opened.overlay->Replace(name, std::move(values)).ok());
  }
}

// All of `a` is in `b`, bit by bit.
inline void ExpectIn(const BlockStats& a, const BlockStats& b) {
  for (const auto& [key, s] : a.layers) {
    const LayerStats* t = b.Find(key.first, key.second);
    ASSERT_NE(t, nullptr) << key.first;
    EXPECT_EQ(s->n_rows, t->n_rows) << key.first;
    EXPECT_EQ(s->sum_sq, t->sum_sq) << key.first;
    EXPECT_EQ(s->sum_abs, t->sum_abs) << key.first;
    EXPECT_EQ(s->max_abs, t->max_abs) << key.first;
    EXPECT_EQ(s->gram, t->gram) << key.first;
    EXPECT_EQ(s->cross, t->cross) << key.first;
    EXPECT_EQ(s->weight, t->weight) << key.first;
    EXPECT_EQ(s->residual, t->residual) << key.first;
    EXPECT_EQ(s->shrinkage, t->shrinkage) << key.first;
    ASSERT_EQ(s->held_out == nullptr, t->held_out == nullptr) << key.first;
    if (s->held_out != nullptr) {
      EXPECT_EQ(s->held_out->n_rows, t->held_out->n_rows) << key.first;
      EXPECT_EQ(s->held_out->inputs, t->held_out->inputs) << key.first;
      EXPECT_EQ(s->held_out->originals, t->held_out->originals) << key.first;
      EXPECT_EQ(s->held_out->residual, t->held_out->residual) << key.first;
      EXPECT_EQ(s->held_out->weights, t->held_out->weights) << key.first;
    }
  }
}

inline void ExpectSame(const BlockStats& a, const BlockStats& b) {
  ASSERT_EQ(a.layers.size(), b.layers.size());
  ExpectIn(a, b);
}

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_CALIBRATOR_FIXTURE_H_
