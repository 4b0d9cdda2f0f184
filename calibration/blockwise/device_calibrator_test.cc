// Statistics summed on a device against the processor's, bit for bit: the code
// of a card's threads on the CPU, and a card where there is one.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/blockwise/block_calibrator.h"
#include "calibration/blockwise/calibrator_fixture.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/token_weights.h"
#include "calibration/model_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using testing::HasSubstr;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

CalibrationOptions On(const Device& device) {
  CalibrationOptions options = Exact(1);
  options.runner.device = device;
  return options;
}

ObserveRequest Everything() {
  ObserveRequest request;
  request.needs.gram = request.needs.cross = request.needs.residual = true;
  request.held_out_every = 5;
  request.held_out_rows = 20;
  return request;
}

// Different weights for the tokens of every layer.
TokenWeights SomeWeights(const BlockSites& sites,
                         const CalibrationSamples& samples) {
  TokenWeights weights;
  for (const auto& names : sites) {
    for (const std::string& name : names) {
      auto values = std::make_shared<TokenWeights::Values>();
      for (size_t i = 0; i < samples.ids.size(); ++i) {
        values->push_back(static_cast<float>((i * i + name.size()) % 19) / 9);
      }
      weights.layers[name] = values;
    }
  }
  return weights;
}

// Two blocks, site by site with weights, the first one at once too, after which
// their matrices are replaced; and what goes into the output matrix. Few
// samples, since a card's threads take their time here.
std::vector<BlockStats> StatsOf(const std::string& path,
                                const CalibrationOptions& options,
                                const std::string& stop_after_first = "",
                                const std::string& go_on_from = "") {
  const Opened opened = Open(path);
  const CalibrationSamples samples = SomeSamples(*opened.model, 5);
  CalibrationOptions both = options;
  both.keep_original = true;
  const auto calibrator = Create(opened, samples, both);
  std::vector<BlockStats> all;
  if (calibrator == nullptr) {
    return all;
  }
  if (!go_on_from.empty()) {
    const absl::Status restored = calibrator->Restore(go_on_from, 7);
    EXPECT_TRUE(restored.ok()) << restored;
  }
  const auto observe = [&](const ObserveRequest& request) {
    auto stats = calibrator->Observe(request, {});
    EXPECT_TRUE(stats.ok()) << stats.status();
    all.push_back(stats.ok() ? *std::move(stats) : BlockStats());
  };
  while (calibrator->next_block() < calibrator->n_blocks()) {
    const int64_t block = calibrator->next_block();
    const BlockSites sites = calibrator->SitesOfBlock();
    const TokenWeights weights = SomeWeights(sites, samples);
    ObserveRequest request;
    request.needs.gram = true;
    if (block == 0) {
      observe(request);
    }
    request = Everything();
    request.weights = &weights;
    for (const auto& names : sites) {
      if (!names.empty() && block < 2) {
        request.layers = names;
        observe(request);
      }
    }
    Coarsen(opened, block);
    Advance(calibrator.get());
    if (!stop_after_first.empty()) {
      const absl::Status saved = calibrator->Save(stop_after_first, 7);
      EXPECT_TRUE(saved.ok()) << saved;
      return all;
    }
  }
  ObserveRequest output;
  output.needs.gram = output.needs.cross = true;
  auto stats = calibrator->ObserveOutput(output);
  EXPECT_TRUE(stats.ok()) << stats.status();
  all.push_back(stats.ok() ? *std::move(stats) : BlockStats());
  return all;
}

void ExpectAllSame(const std::vector<BlockStats>& a,
                   const std::vector<BlockStats>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_FALSE(a[i].layers.empty());
    ExpectSame(a[i], b[i]);
  }
}

TEST(DeviceCalibratorTest, StatisticsAreTheProcessors) {
  // Dense; experts; fused matrices and norms behind the parts.
  for (const char* path : {"testdata/arch/llama3", "testdata/arch/qwen3_moe",
                           "testdata/arch/gemma3_text"}) {
    SCOPED_TRACE(path);
    const auto wanted = StatsOf(path, Exact(2));
    for (const Device& device : Devices()) {
      CalibrationOptions options = On(device);
      options.group_samples = 2;
      ExpectAllSame(wanted, StatsOf(path, options));
    }
  }
}

// Gram matrices are then of rows rounded to bfloat16, by 2^-8 at most; squares
// are not.
TEST(DeviceCalibratorTest, FastStatisticsAreNear) {
  for (const Device& device : Devices()) {
    CalibrationOptions options = On(device);
    options.runner.precision = Precision::kFast;
    const Opened opened = Open("testdata/arch/llama3");
    const auto calibrator =
        Create(opened, SomeSamples(*opened.model, 3), options);
    ASSERT_NE(calibrator, nullptr);
    ObserveRequest request;
    request.needs.gram = true;
    const auto stats = calibrator->Observe(request, {});
    ASSERT_TRUE(stats.ok()) << stats.status();
    double largest = 0;
    for (const auto& [name, layer] : stats->layers) {
      const int64_t n = layer->n_cols;
      for (int64_t i = 0; i < n; ++i) {
        const double square = layer->sum_sq[static_cast<size_t>(i)];
        const double change =
            std::fabs(layer->gram[static_cast<size_t>(i * n + i)] - square);
        EXPECT_LE(change, square * 0x1p-6) << name.first << " " << i;
        largest = std::max(largest, change / square);
      }
      EXPECT_EQ(layer->gram[1], layer->gram[static_cast<size_t>(n)]);
    }
    EXPECT_GT(largest, 1e-5);
  }
}

// Down to where not even one sample has room.
TEST(DeviceCalibratorTest, ShortMemoryTakesFewerSamplesAndSaysSo) {
  const char path[] = "testdata/arch/llama3";
  const CalibrationSamples samples = SomeSamples(*Open(path).model, 100);
  BlockStats wanted;
  bool fewer = false, summed_here = false, refused = false;
  for (int64_t limit = 2 << 20; !refused && limit > 10000; limit -= limit / 8) {
    SCOPED_TRACE(limit);
    const Opened opened = Open(path);
    CalibrationOptions options = On(Device::Cpu(limit));
    options.keep_original = true;
    std::vector<std::string> notes;
    options.runner.on_device_note = [&](absl::string_view note) {
      notes.emplace_back(note);
    };
    auto made = BlockCalibrator::Create(opened.model.get(), opened.overlay,
                                        samples, options);
    absl::Status status = made.status();
    if (status.ok()) {
      ObserveRequest request;
      request.needs.gram = true;
      request.layers = (*made)->SitesOfBlock()[0];
      auto stats = (*made)->Observe(request, {});
      status = stats.status();
      if (status.ok() && wanted.layers.empty()) {
        wanted = *std::move(stats);
      } else if (status.ok()) {
        ExpectSame(*stats, wanted);
      }
    }
    refused = absl::IsResourceExhausted(status);
    EXPECT_TRUE(status.ok() || refused) << status;
    for (const std::string& note : notes) {
      fewer = fewer || note.find("samples at once") != std::string::npos;
      summed_here =
          summed_here || note.find("the processor sums") != std::string::npos;
    }
  }
  EXPECT_TRUE(fewer);
  EXPECT_TRUE(summed_here);
  EXPECT_TRUE(refused);
}

TEST(DeviceCalibratorTest, ARunGoesOnWhereItWasBegunElsewhere) {
  const char path[] = "testdata/arch/llama3";
  const std::string file = testing::TempDir() + "/device_state";
  const auto wanted = StatsOf(path, Exact(2));
  const CalibrationOptions device = On(Device::Cpu());
  for (const bool begun_there : {false, true}) {
    auto all = StatsOf(path, begun_there ? device : Exact(1), file);
    const auto rest = StatsOf(path, begun_there ? Exact(1) : device, "", file);
    all.insert(all.end(), rest.begin(), rest.end());
    ExpectAllSame(wanted, all);
  }
  std::remove(file.c_str());
}

TEST(DeviceCalibratorTest, NamesWhatIsNotFinite) {
  for (const Device& device : Devices()) {
    const Opened opened = Open("testdata/arch/llama3");
    const CalibrationSamples samples = SomeSamples(*opened.model);
    const auto calibrator = Create(opened, samples, On(device));
    ASSERT_NE(calibrator, nullptr);
    // A gate that overflows on the way to the last matrix.
    for (const std::string& name : opened.matrices) {
      if (name.find("layers.0.mlp.up_proj") != std::string::npos) {
        const int64_t n = opened.overlay->Find(name)->meta.n_elements();
        ASSERT_TRUE(opened.overlay
                        ->Replace(name, std::vector<float>(
                                            static_cast<size_t>(n), 3e38f))
                        .ok());
      }
    }
    ObserveRequest request;
    request.needs.gram = true;
    const auto stats = calibrator->Observe(request, {});
    EXPECT_TRUE(absl::IsDataLoss(stats.status())) << stats.status();
    EXPECT_THAT(std::string(stats.status().message()),
                HasSubstr("the input of blk.0.ffn_down.weight is not finite, "
                          "first at sample 0, token"));
  }
}

}  // namespace
}  // namespace narrow
