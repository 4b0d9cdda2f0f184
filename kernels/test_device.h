// Devices that tests run on, and memory of theirs.
//
//   OnEachDevice([](const TestDevice& on) {
//     const DeviceBuffer a = on.Upload(NormalNumbers<float>(100, 1));
//     ...
//     const std::vector<float> out = on.Download<float>(b);
//   });

#ifndef NARROW_KERNELS_TEST_DEVICE_H_
#define NARROW_KERNELS_TEST_DEVICE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/device.h"

namespace narrow {

// One at a time; its stream is for one thread.
class TestDevice {
 public:
  explicit TestDevice(const Device& device)
      : device_(device), stream_(*device.NewStream()) {}

  const Device& device() const { return device_; }
  DeviceStream* stream() const { return &stream_; }

  template <typename T>
  DeviceBuffer Upload(const std::vector<T>& values) const {
    auto buffer = device_.Allocate(values.size() * sizeof(T), "test");
    EXPECT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_TRUE(
        stream_.Copy(values.data(), values.size() * sizeof(T), buffer->data())
            .ok());
    EXPECT_TRUE(stream_.Synchronize("test").ok());
    return *std::move(buffer);
  }

  template <typename T>
  std::vector<T> Download(const DeviceBuffer& buffer) const {
    std::vector<T> values(buffer.n_bytes() / sizeof(T));
    EXPECT_TRUE(
        stream_.Copy(buffer.data(), buffer.n_bytes(), values.data()).ok());
    EXPECT_TRUE(stream_.Synchronize("test").ok());
    return values;
  }

 private:
  const Device device_;
  mutable DeviceStream stream_;
};

// The CPU's, and a card where there is one.
inline std::vector<TestDevice> TestDevices() {
  std::vector<TestDevice> devices;
  devices.emplace_back(Device::Cpu());
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.emplace_back(*card);
  }
  return devices;
}

// body(const TestDevice&) on each.
template <typename Body>
void OnEachDevice(const Body& body) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    body(on);
  }
}

template <typename T>
std::vector<T> NormalNumbers(int64_t n, uint32_t seed, T scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<T> normal(0, scale);
  std::vector<T> values(static_cast<size_t>(n));
  for (T& v : values) {
    v = normal(random);
  }
  return values;
}

// The same as bfloat16.
inline std::vector<uint16_t> NormalHalves(int64_t n, uint32_t seed) {
  std::vector<uint16_t> halves;
  for (const float x : NormalNumbers<float>(n, seed)) {
    halves.push_back(Bf16FromFloat(x));
  }
  return halves;
}

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace narrow

#endif  // NARROW_KERNELS_TEST_DEVICE_H_
