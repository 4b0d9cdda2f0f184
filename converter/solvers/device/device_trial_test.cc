// Transforms' search of scales on a device chooses what it chooses on the
// processor, by the same errors: on the CPU's device, and a card where there
// is one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "converter/solvers/test_problems.h"
#include "converter/solvers/transforms/transform.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kRows = 12;
constexpr int64_t kCols = 128;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*std::move(card));
  }
  return devices;
}

// Two layers of a scheme and a router on one input.
class Group {
 public:
  explicit Group(const WeightScheme &scheme)
      : pool_(2),
        first_(TestWeights(kRows * kCols, 1)),
        second_(TestWeights(2 * kRows * kCols, 2)),
        router_(TestWeights(4 * kCols, 3)),
        stats_(TestStats(kCols, 2 * kCols, 4)) {
    group_.members = {{"first", first_.data(), kRows, true, scheme},
                      {"second", second_.data(), 2 * kRows, true, scheme},
                      {"router", router_.data(), 4, false, {}}};
    group_.n_cols = kCols;
    group_.stats = &stats_;
    options_.n_grid = 3;
    options_.alpha = -1;
  }

  GroupScales Run(const char *transform, const Device *device) {
    group_.device = device;
    const auto found = FindTransform(transform)->run(group_, options_, &pool_);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : GroupScales();
  }
  TransformOptions &options() { return options_; }

 private:
  ThreadPool pool_;
  std::vector<float> first_;
  std::vector<float> second_;
  std::vector<float> router_;
  LayerStats stats_;
  TransformGroup group_;
  TransformOptions options_;
};

void ExpectSame(const GroupScales &found, const GroupScales &expected) {
  EXPECT_EQ(found.scales, expected.scales);
  EXPECT_EQ(found.ratio, expected.ratio);
  EXPECT_EQ(found.error_before, expected.error_before);
  EXPECT_EQ(found.error_after, expected.error_after);
}

void ExpectProcessorsChoice(Group *group, const char *transform,
                            int *n_scaled) {
  const GroupScales expected = group->Run(transform, nullptr);
  *n_scaled += expected.scales.empty() ? 0 : 1;
  for (const Device &device : Devices()) {
    const GroupScales found = group->Run(transform, &device);
    ExpectSame(found, expected);
    EXPECT_THAT(found.notes, IsEmpty());
  }
}

TEST(DeviceTrialTest, ChoosesAsTheProcessor) {
  int n_scaled = 0;
  for (const SchemeCase &c : TestSchemes()) {
    SCOPED_TRACE(c.name);
    Group group(c.scheme);
    ExpectProcessorsChoice(&group, "awq", &n_scaled);
  }
  EXPECT_GT(n_scaled, 5);
  Group group(TestSchemes()[4].scheme);
  ExpectProcessorsChoice(&group, "smoothquant", &n_scaled);
}

TEST(DeviceTrialTest, OtherFits) {
  Group group(TestSchemes()[1].scheme);
  const Device device = Device::Cpu();
  for (const FitOptions::Search search :
       {FitOptions::Search::kMinMax, FitOptions::Search::kShrink}) {
    group.options().fit.search = search;
    ExpectSame(group.Run("awq", &device), group.Run("awq", nullptr));
  }
}

TEST(DeviceTrialTest, ShortMemoryChangesNothing) {
  Group group(TestSchemes()[0].scheme);
  const GroupScales expected = group.Run("awq", nullptr);
  // The Gram matrix takes 66 KB, a candidate some 90 in either layer.
  for (const int64_t kilobytes : {350, 220}) {
    const Device device = Device::Cpu(1000 * kilobytes);
    const GroupScales found = group.Run("awq", &device);
    ExpectSame(found, expected);
    EXPECT_THAT(found.notes, ElementsAre(HasSubstr("scalings at once")));
  }
  const Device none = Device::Cpu(70000);
  const GroupScales found = group.Run("awq", &none);
  ExpectSame(found, expected);
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("on the processor")));
}

}  // namespace
}  // namespace narrow
