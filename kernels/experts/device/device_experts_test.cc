// Tokens to experts and back: the card's code on the CPU, and a card where
// there is one, against what calibration/feed_forward.h does row by row.

#include "kernels/experts/device/device_experts.h"

#include <gtest/gtest.h>

#include <vector>

#include "formats/base/float16.h"
#include "kernels/rows/rows.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using expert_threads::CombineTask;
using expert_threads::GatherTask;

constexpr int64_t kTokens = 7;
constexpr int64_t kUsed = 3;
constexpr int64_t kCols = 37;
constexpr int64_t kRows = kTokens * kUsed;

TEST(DeviceExpertsTest, RowsAreThoseOfTheirTokens) {
  const std::vector<float> x = NormalNumbers<float>(kTokens * kCols, 1);
  const std::vector<int32_t> tokens = {3, 0, 6, 6, 1};
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_tokens = on.Upload(tokens);
    const DeviceBuffer floats =
        on.Upload(std::vector<float>(tokens.size() * kCols));
    const DeviceBuffer halves =
        on.Upload(std::vector<uint16_t>(tokens.size() * kCols));
    const GatherTask task = {d_x.as<float>(),
                             d_tokens.as<int32_t>(),
                             static_cast<int64_t>(tokens.size()),
                             kCols,
                             floats.as<float>(),
                             halves.as<uint16_t>()};
    ASSERT_TRUE(RunGather(task, on.stream()).ok());
    const auto got = on.Download<float>(floats);
    const auto rounded = on.Download<uint16_t>(halves);
    for (size_t r = 0; r < tokens.size(); ++r) {
      for (int64_t c = 0; c < kCols; ++c) {
        const float wanted = x[tokens[r] * kCols + c];
        EXPECT_EQ(got[r * kCols + c], wanted);
        EXPECT_EQ(rounded[r * kCols + c], Bf16FromFloat(wanted));
      }
    }
  }
}

TEST(DeviceExpertsTest, SumsAreInTheOrderOfExperts) {
  const std::vector<float> x = NormalNumbers<float>(kRows * kCols, 2);
  const std::vector<float> weights = NormalNumbers<float>(kRows, 3);
  const std::vector<float> before = NormalNumbers<float>(kTokens * kCols, 4);
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < kRows; ++i) {
    rows.push_back(static_cast<int32_t>(i * 8 % kRows));
  }
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_rows = on.Upload(rows);
    const DeviceBuffer d_weights = on.Upload(weights);
    for (const bool accumulate : {false, true}) {
      const DeviceBuffer out = on.Upload(before);
      const CombineTask task = {d_x.as<float>(),
                                d_rows.as<int32_t>(),
                                d_weights.as<float>(),
                                kTokens,
                                kUsed,
                                kCols,
                                accumulate,
                                out.as<float>()};
      ASSERT_TRUE(RunCombine(task, on.stream()).ok());
      std::vector<float> wanted = before;
      const RowKernels& kernels = RowKernelsReference();
      for (int64_t t = 0; t < kTokens; ++t) {
        std::vector<float> sums(kCols);
        for (int64_t k = t * kUsed; k < (t + 1) * kUsed; ++k) {
          kernels.add_scaled(&x[rows[k] * kCols], weights[k], kCols,
                             sums.data());
        }
        if (accumulate) {
          kernels.add_scaled(sums.data(), 1, kCols, &wanted[t * kCols]);
        } else {
          std::copy(sums.begin(), sums.end(), &wanted[t * kCols]);
        }
      }
      EXPECT_EQ(on.Download<float>(out), wanted);
    }
  }
}

TEST(DeviceExpertsTest, NoRowsAreNoWork) {
  auto stream = Device::Cpu().NewStream();
  EXPECT_TRUE(RunGather(GatherTask{}, &*stream).ok());
  EXPECT_TRUE(RunCombine(CombineTask{}, &*stream).ok());
}

}  // namespace
}  // namespace narrow
