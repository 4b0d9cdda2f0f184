// Tokens to experts and back: the card's code on the CPU, and a card where
// there is one, against what calibration/feed_forward.h does row by row.

#include "kernels/experts/device/device_experts.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

using expert_threads::CombineTask;
using expert_threads::GatherTask;

constexpr int64_t kTokens = 7;
constexpr int64_t kUsed = 3;
constexpr int64_t kCols = 37;
constexpr int64_t kRows = kTokens * kUsed;

std::vector<float> RandomNumbers(int64_t n, int seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<size_t>(n));
  for (float& number : numbers) {
    number = normal(generator);
  }
  return numbers;
}

// Memory of a device with values in it, and back.
class Values {
 public:
  template <typename T>
  Values(const Device& device, DeviceStream* stream,
         const std::vector<T>& values)
      : stream_(stream) {
    auto buffer = device.Allocate(values.size() * sizeof(T), "test");
    EXPECT_TRUE(buffer.ok());
    buffer_ = *std::move(buffer);
    EXPECT_TRUE(
        stream->Copy(values.data(), buffer_.n_bytes(), buffer_.data()).ok());
    EXPECT_TRUE(stream->Synchronize("test").ok());
  }
  template <typename T>
  T* as() const {
    return buffer_.as<T>();
  }
  template <typename T>
  std::vector<T> Read() const {
    std::vector<T> values(buffer_.n_bytes() / sizeof(T));
    EXPECT_TRUE(
        stream_->Copy(buffer_.data(), buffer_.n_bytes(), values.data()).ok());
    EXPECT_TRUE(stream_->Synchronize("test").ok());
    return values;
  }

 private:
  DeviceStream* stream_;
  DeviceBuffer buffer_;
};

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

TEST(DeviceExpertsTest, RowsAreThoseOfTheirTokens) {
  const std::vector<float> x = RandomNumbers(kTokens * kCols, 1);
  const std::vector<int32_t> tokens = {3, 0, 6, 6, 1};
  for (const Device& device : Devices()) {
    auto stream = device.NewStream();
    const Values d_x(device, &*stream, x);
    const Values d_tokens(device, &*stream, tokens);
    const Values floats(device, &*stream,
                        std::vector<float>(tokens.size() * kCols));
    const Values halves(device, &*stream,
                        std::vector<uint16_t>(tokens.size() * kCols));
    const GatherTask task = {d_x.as<float>(),
                             d_tokens.as<int32_t>(),
                             static_cast<int64_t>(tokens.size()),
                             kCols,
                             floats.as<float>(),
                             halves.as<uint16_t>()};
    ASSERT_TRUE(RunGather(task, &*stream).ok());
    const auto got = floats.Read<float>();
    const auto rounded = halves.Read<uint16_t>();
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
  const std::vector<float> x = RandomNumbers(kRows * kCols, 2);
  const std::vector<float> weights = RandomNumbers(kRows, 3);
  const std::vector<float> before = RandomNumbers(kTokens * kCols, 4);
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < kRows; ++i) {
    rows.push_back(static_cast<int32_t>(i * 8 % kRows));
  }
  for (const Device& device : Devices()) {
    auto stream = device.NewStream();
    const Values d_x(device, &*stream, x);
    const Values d_rows(device, &*stream, rows);
    const Values d_weights(device, &*stream, weights);
    for (const bool accumulate : {false, true}) {
      const Values out(device, &*stream, before);
      const CombineTask task = {d_x.as<float>(),
                                d_rows.as<int32_t>(),
                                d_weights.as<float>(),
                                kTokens,
                                kUsed,
                                kCols,
                                accumulate,
                                out.as<float>()};
      ASSERT_TRUE(RunCombine(task, &*stream).ok());
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
      EXPECT_EQ(out.Read<float>(), wanted);
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
