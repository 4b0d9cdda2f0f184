#include "kernels/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

namespace narrow {
namespace {

using testing::HasSubstr;

// The processor, and the card if there is one.
std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  absl::StatusOr<Device> card = OpenDevice(DeviceChoice::kCuda);
  if (card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

TEST(DeviceTest, CopiesThereAndBack) {
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    absl::StatusOr<DeviceStream> stream = device.NewStream();
    ASSERT_TRUE(stream.ok()) << stream.status();
    std::vector<int> numbers(100000);
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<int>(i * i);
    }
    const size_t n_bytes = numbers.size() * sizeof(int);
    absl::StatusOr<DeviceBuffer> there = device.Allocate(n_bytes, "there");
    absl::StatusOr<DeviceBuffer> back = device.AllocatePinned(n_bytes, "back");
    ASSERT_TRUE(there.ok() && back.ok());
    ASSERT_TRUE(stream->Fill(0x5a, n_bytes, back->data()).ok());
    ASSERT_TRUE(stream->Copy(numbers.data(), n_bytes, there->data()).ok());
    ASSERT_TRUE(stream->Fill(1, 4, there->as<int>() + 7).ok());
    ASSERT_TRUE(stream->Copy(there->data(), n_bytes, back->data()).ok());
    ASSERT_TRUE(stream->Synchronize("numbers").ok());
    numbers[7] = 0x01010101;
    EXPECT_EQ(std::memcmp(back->data(), numbers.data(), n_bytes), 0);
  }
}

TEST(DeviceTest, EventsOrderStreamsAndMeasureTime) {
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    absl::StatusOr<DeviceStream> first = device.NewStream();
    absl::StatusOr<DeviceStream> second = device.NewStream();
    absl::StatusOr<DeviceEvent> begin = device.NewEvent();
    absl::StatusOr<DeviceEvent> end = device.NewEvent();
    ASSERT_TRUE(first.ok() && second.ok() && begin.ok() && end.ok());
    absl::StatusOr<DeviceBuffer> buffer = device.Allocate(1 << 24, "buffer");
    ASSERT_TRUE(buffer.ok());
    ASSERT_TRUE(first->Record(&*begin).ok());
    ASSERT_TRUE(first->Fill(3, 1 << 24, buffer->data()).ok());
    ASSERT_TRUE(first->Record(&*end).ok());
    ASSERT_TRUE(second->Wait(*end).ok());
    uint8_t last = 0;
    ASSERT_TRUE(
        second->Copy(buffer->as<uint8_t>() + (1 << 24) - 1, 1, &last).ok());
    ASSERT_TRUE(second->Synchronize("last").ok());
    EXPECT_EQ(last, 3);
    absl::StatusOr<double> seconds = begin->SecondsTo(*end);
    ASSERT_TRUE(seconds.ok());
    EXPECT_GT(*seconds, 0);
    EXPECT_LT(*seconds, 10);
  }
}

TEST(DeviceTest, NothingTakesNoMemory) {
  absl::StatusOr<DeviceBuffer> none = Device::Cpu(1).Allocate(0, "nothing");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->data(), nullptr);
}

TEST(DeviceTest, TooMuchMemoryIsResourceExhaustedAndNamesTheTensor) {
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    const absl::Status status =
        device.Allocate(size_t{1} << 60, "blk.3.ffn_up.weight").status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("1152921504606846976 bytes for "
                          "'blk.3.ffn_up.weight'"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("are free"));
  }
}

TEST(DeviceTest, LimitCountsWhatIsAllocatedAndGivenBack) {
  const Device device = Device::Cpu(1000);
  absl::StatusOr<DeviceBuffer> first = device.Allocate(600, "a");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*device.FreeMemory(), 400);
  EXPECT_TRUE(absl::IsResourceExhausted(device.Allocate(401, "b").status()));
  EXPECT_TRUE(device.Allocate(400, "b").ok());
  DeviceBuffer moved = *std::move(first);
  EXPECT_EQ(moved.n_bytes(), 600);
  EXPECT_TRUE(absl::IsResourceExhausted(device.Allocate(600, "c").status()));
  moved = DeviceBuffer();
  EXPECT_TRUE(device.Allocate(1000, "c").ok());
}

TEST(DeviceTest, SmallerBatchesUntilTheyFit) {
  const Device device = Device::Cpu(1000);
  std::vector<int64_t> reported;
  const auto attempt = [&](int64_t n) {
    return device.Allocate(static_cast<size_t>(n) * 10, "batch").status();
  };
  const auto report = [&](int64_t n, absl::string_view why) {
    reported.push_back(n);
    EXPECT_THAT(std::string(why), HasSubstr("'batch'"));
  };
  EXPECT_EQ(*WithSmallerBatches(700, 1, attempt, report), 87);
  EXPECT_EQ(reported, (std::vector<int64_t>{350, 175, 87}));
  EXPECT_TRUE(absl::IsResourceExhausted(
      WithSmallerBatches(700, 101, attempt, nullptr).status()));
  EXPECT_TRUE(absl::IsInternal(
      WithSmallerBatches(
          700, 1, [](int64_t) { return absl::InternalError("x"); }, nullptr)
          .status()));
}

TEST(DeviceTest, ParsesTheUsersChoice) {
  EXPECT_EQ(*ParseDeviceChoice("auto"), DeviceChoice::kAuto);
  EXPECT_EQ(*ParseDeviceChoice("cpu"), DeviceChoice::kCpu);
  EXPECT_EQ(*ParseDeviceChoice("cuda"), DeviceChoice::kCuda);
  EXPECT_THAT(std::string(ParseDeviceChoice("gpu").status().message()),
              HasSubstr("auto, cpu and cuda"));
}

TEST(DeviceTest, WithoutACardAutoIsTheProcessorAndCudaSaysWhy) {
  const absl::Status why = OpenDevice(DeviceChoice::kCuda).status();
  if (why.ok()) {
    GTEST_SKIP() << "there is a card";
  }
  std::string note;
  absl::StatusOr<Device> device = OpenDevice(DeviceChoice::kAuto, &note);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device->kind(), DeviceKind::kCpu);
  // A build without CUDA has nothing to tell the user; one with it says what
  // is missing, and what else to do.
  EXPECT_EQ(note.empty(), absl::IsUnimplemented(why));
  EXPECT_THAT(std::string(why.message()),
              testing::AnyOf(HasSubstr("has no CUDA"),
                             HasSubstr("--device cpu"), HasSubstr("no card")));
}

}  // namespace
}  // namespace narrow
