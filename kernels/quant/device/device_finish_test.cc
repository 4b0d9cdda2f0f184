// The last steps of decoding against the host's functions: the card's code on
// the CPU, and a card where there is one.

#include "kernels/quant/device/device_finish.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "formats/base/float16.h"

namespace narrow {
namespace {

using Rounding = FinishTask::Rounding;

std::vector<float> Weights() {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights = {0, -0.0f, 1e-7f, 6e-8f, 65519, 65520, 1e30f};
  for (int i = 0; i < 1000; ++i) {
    weights.push_back(normal(generator));
  }
  return weights;
}

float Rounded(float x, Rounding rounding) {
  switch (rounding) {
    case Rounding::kBf16:
      return FloatFromBf16(Bf16FromFloat(x));
    case Rounding::kF16:
      return FloatFromF16(F16FromFloat(x));
    case Rounding::kNone:
      break;
  }
  return x;
}

void ExpectSteps(const Device& device) {
  auto stream = device.NewStream();
  ASSERT_TRUE(stream.ok());
  const std::vector<float> weights = Weights();
  const std::vector<float> scales = {0.5f, 3, 0.1f};
  const size_t n_bytes = 4 * weights.size();
  auto in = device.Allocate(n_bytes, "test");
  auto factors = device.Allocate(4 * scales.size(), "test");
  auto out = device.Allocate(n_bytes, "test");
  ASSERT_TRUE(in.ok() && factors.ok() && out.ok());
  ASSERT_TRUE(stream->Copy(weights.data(), n_bytes, in->data()).ok());
  ASSERT_TRUE(
      stream->Copy(scales.data(), 4 * scales.size(), factors->data()).ok());
  for (const Rounding rounding :
       {Rounding::kNone, Rounding::kBf16, Rounding::kF16}) {
    for (const bool halves : {false, true}) {
      FinishTask task;
      task.weights = in->as<float>();
      task.n_weights = static_cast<int64_t>(weights.size());
      task.offset = 0.25f;
      task.rounding = rounding;
      task.scales = factors->as<float>();
      task.first_weight = 300;
      task.weights_per_scale = 500;
      if (halves) {
        task.halves = out->as<uint16_t>();
      } else {
        task.floats = out->as<float>();
      }
      ASSERT_TRUE(RunFinish(task, &*stream).ok());
      std::vector<float> got(weights.size());
      ASSERT_TRUE(stream->Copy(out->data(), n_bytes, got.data()).ok());
      ASSERT_TRUE(stream->Synchronize("test").ok());
      for (size_t i = 0; i < weights.size(); ++i) {
        const float wanted =
            Rounded(weights[i] + 0.25f, rounding) * scales[(300 + i) / 500];
        if (halves) {
          EXPECT_EQ(reinterpret_cast<const uint16_t*>(got.data())[i],
                    Bf16FromFloat(wanted));
        } else {
          EXPECT_EQ(got[i], wanted) << i;
        }
      }
    }
  }
}

TEST(DeviceFinishTest, StepsAreTheHosts) {
  ExpectSteps(Device::Cpu());
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    ExpectSteps(*card);
  }
}

}  // namespace
}  // namespace narrow
