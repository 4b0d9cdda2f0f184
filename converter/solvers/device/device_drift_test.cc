// Corrections of drift on a device against the processor's: the code of a
// card's threads on the CPU.

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "calibration/blockwise/layer_stats.h"
#include "converter/solvers/metric/drift.h"
#include "kernels/device.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 37, kCols = 70, kTokens = 200, kHeld = 9;

std::vector<float> Normal(int64_t n, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) {
    value = normal(random);
  }
  return values;
}

// sums[i, j] of left[t, i] * right[t, j].
std::vector<double> Moments(const std::vector<float>& left, int64_t n_left,
                            const std::vector<float>& right) {
  std::vector<double> sums(static_cast<size_t>(n_left * kCols));
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t i = 0; i < n_left; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        sums[static_cast<size_t>(i * kCols + j)] +=
            static_cast<double>(left[static_cast<size_t>(t * n_left + i)]) *
            static_cast<double>(right[static_cast<size_t>(t * kCols + j)]);
      }
    }
  }
  return sums;
}

// What the residual stream has drifted by, for inputs [n, kCols]: a map of
// them, of the first rows so much that they are limited.
std::vector<float> ResidualOf(const std::vector<float>& inputs, int64_t n) {
  const std::vector<float> map = Normal(kRows * kCols, 3, 1);
  std::vector<float> residual(static_cast<size_t>(n * kRows));
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < kRows; ++i) {
      float sum = 0;
      for (int64_t j = 0; j < kCols; ++j) {
        sum += map[static_cast<size_t>(i * kCols + j)] *
               inputs[static_cast<size_t>(t * kCols + j)];
      }
      residual[static_cast<size_t>(t * kRows + i)] = i < 9 ? sum : 0.1f * sum;
    }
  }
  return residual;
}

std::vector<float> Scaled(std::vector<float> values, float scale) {
  for (float& value : values) {
    value *= scale;
  }
  return values;
}

LayerStats StatsOf(bool cross, bool residual, bool held_out) {
  const std::vector<float> inputs = Normal(kTokens * kCols, 1, 1);
  LayerStats stats;
  stats.gram = Moments(inputs, kCols, inputs);
  if (cross) {
    stats.cross = Moments(Scaled(inputs, 0.1f), kCols, inputs);
  }
  if (residual) {
    stats.residual = Moments(ResidualOf(inputs, kTokens), kRows, inputs);
  }
  if (held_out) {
    auto held = std::make_shared<HeldOutRows>();
    held->n_rows = kHeld;
    held->inputs = Normal(kHeld * kCols, 4, 1);
    held->originals = Scaled(held->inputs, 1.1f);
    held->residual = ResidualOf(held->inputs, kHeld);
    stats.held_out = std::move(held);
  }
  return stats;
}

struct Corrected {
  std::string note;
  std::vector<float> targets;
};

Corrected Correct(const LayerStats& stats, const Device* device) {
  const std::vector<float> weights = Normal(kRows * kCols, 7, 1);
  ThreadPool pool(2);
  DriftProblem problem = {"a", weights.data(), kRows, kCols, &stats, &pool};
  problem.drift = 0.8;
  problem.residual = 0.7;
  problem.device = device;
  Corrected corrected = {"", weights};
  auto note = CorrectDrift(problem, &corrected.targets);
  EXPECT_TRUE(note.ok()) << note.status();
  EXPECT_NE(corrected.targets, weights);
  corrected.note = note.ok() ? *note : "";
  return corrected;
}

TEST(DeviceDriftTest, HasTheProcessorsBits) {
  const Device device = Device::Cpu();
  for (const auto& [cross, residual, held_out] :
       {std::tuple(true, false, false), std::tuple(false, true, true),
        std::tuple(true, true, true)}) {
    const LayerStats stats = StatsOf(cross, residual, held_out);
    const Corrected wanted = Correct(stats, nullptr);
    const Corrected got = Correct(stats, &device);
    EXPECT_EQ(got.targets, wanted.targets);
    EXPECT_EQ(got.note, wanted.note);
    EXPECT_EQ(
        wanted.note.find("rows at half of their output") != std::string::npos,
        residual);
  }
}

// Fewer rows at once, and in the end the processor, which is said.
TEST(DeviceDriftTest, GoesOnWhereMemoryIsShort) {
  const LayerStats stats = StatsOf(true, true, true);
  const Corrected wanted = Correct(stats, nullptr);
  const int64_t moments = 3 * 8 * kCols * kCols;
  for (const int64_t limit : {moments + 60000, moments / 2}) {
    const Device device = Device::Cpu(limit);
    const Corrected got = Correct(stats, &device);
    EXPECT_EQ(got.targets, wanted.targets);
    EXPECT_EQ(got.note.find("; by the processor") != std::string::npos,
              limit < moments);
  }
}

}  // namespace
}  // namespace narrow
