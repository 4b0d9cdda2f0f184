#include "converter/commands/flags/device_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "converter/commands/flags/number_range.h"

namespace narrow {
namespace {

using testing::HasSubstr;

// What the parser says to --device `word`; empty if it takes it.
std::string Parse(const std::string& word, std::string* chosen) {
  CLI::App app;
  AddDeviceOption(&app, chosen);
  try {
    app.parse(std::vector<std::string>{word, "--device"});
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(DeviceFlagsTest, TakesTheWordsOfDevices) {
  CLI::App app;
  std::string chosen;
  AddDeviceOption(&app, &chosen);
  EXPECT_EQ(chosen, "auto");
  EXPECT_THAT(app.help(), Not(HasSubstr("emulated")));
  for (const char* word :
       {"auto", "cpu", "cuda", "emulated", "emulated:1000"}) {
    EXPECT_EQ(Parse(word, &chosen), "");
    EXPECT_EQ(chosen, word);
  }
  for (const char* word : {"gpu", "emulated:", "emulated:-1", "emulated:x"}) {
    EXPECT_THAT(Parse(word, &chosen), HasSubstr("auto, cpu and cuda"));
  }
}

TEST(NumberRangeTest, TakesNumbersInTheRangeAlone) {
  const CLI::Validator range = NumberRange(0.5, 2);
  EXPECT_EQ(range("0.5"), "");
  EXPECT_EQ(range("2"), "");
  for (const char* text : {"nan", "inf", "-inf", "0.49", "2.01", "x", ""}) {
    EXPECT_THAT(range(text), HasSubstr("not in range 0.5 to 2")) << text;
  }
  EXPECT_EQ(PositiveNumber()("1e-300"), "");
  for (const char* text : {"nan", "inf", "0", "-1", "x"}) {
    EXPECT_THAT(PositiveNumber()(text), HasSubstr("no number above 0")) << text;
  }
}

TEST(DeviceFlagsTest, EmulatedDevicesAreTheProcessorWithAMemory) {
  EXPECT_FALSE(OpenDeviceAsked("cpu")->has_value());
  const auto device = OpenDeviceAsked("emulated:1000");
  ASSERT_TRUE(device.ok() && device->has_value());
  EXPECT_EQ((*device)->kind(), DeviceKind::kCpu);
  EXPECT_TRUE((*device)->Allocate(900, "a").ok());
  EXPECT_TRUE(
      absl::IsResourceExhausted((*device)->Allocate(1100, "b").status()));
  EXPECT_TRUE(OpenDeviceAsked("emulated")->has_value());
}

TEST(DeviceFlagsTest, CudaWithoutACardIsAnError) {
  const auto device = OpenDeviceAsked("cuda");
  const auto any = OpenDeviceAsked("auto");
  ASSERT_TRUE(any.ok()) << any.status();
  EXPECT_EQ(any->has_value(), device.ok());
  if (!device.ok()) {
    EXPECT_THAT(std::string(device.status().message()),
                HasSubstr("--device cuda"));
  }
}

}  // namespace
}  // namespace narrow
