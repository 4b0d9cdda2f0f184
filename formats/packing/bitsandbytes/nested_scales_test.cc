#include "formats/packing/bitsandbytes/nested_scales.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// tools/clients/make_dynamic_map.py checks the SHA-256 as well.
TEST(DynamicMap, IsTheLibrarysByteForByte) {
  const absl::Span<const float> map = DynamicMap();
  ASSERT_EQ(map.size(), 256u);
  EXPECT_EQ(crc32(0, reinterpret_cast<const Bytef*>(map.data()), 1024),
            0x1b137aebu);
}

// The middles of 2^i steps from 0.1 to 1, times 10^(i - 6), with both signs;
// 0 and 1. The library computes in float32, so last bits differ.
TEST(DynamicMap, FollowsItsDefinition) {
  std::vector<double> values = {0, 1};
  for (int i = 0; i < 7; ++i) {
    const int n = 1 << i;
    for (int j = 0; j < n; ++j) {
      const double middle = 0.1 + 0.9 * (j + 0.5) / n;
      values.push_back(middle * std::pow(10, i - 6));
      values.push_back(-values.back());
    }
  }
  std::sort(values.begin(), values.end());
  ASSERT_EQ(values.size(), 256u);
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_NEAR(static_cast<double>(DynamicMap()[i]), values[i], 1.2e-7);
  }
}

TEST(NestScales, TakesTheNearestEntry) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(0.01f, 0.09f);
  std::vector<float> scales(1000);
  for (float& scale : scales) {
    scale = uniform(random);
  }
  const NestedScales nested = NestScales(scales);
  ASSERT_EQ(nested.codes.size(), scales.size());
  ASSERT_EQ(nested.absmax.size(), 4u);
  const std::vector<float> decoded = UnnestScales(nested, DynamicMap());
  for (size_t i = 0; i < scales.size(); ++i) {
    const double absmax = static_cast<double>(nested.absmax[i / 256]);
    const double offset = static_cast<double>(nested.offset);
    double least = 1;
    for (const float entry : DynamicMap()) {
      least =
          std::min(least, std::fabs(static_cast<double>(entry) * absmax +
                                    offset - static_cast<double>(scales[i])));
    }
    const double error = std::fabs(static_cast<double>(decoded[i]) -
                                   static_cast<double>(scales[i]));
    // Three roundings of numbers below 0.1.
    EXPECT_LE(error, least + 3 * 0x1p-28);
  }
}

TEST(NestScales, EqualScalesAreTheirMean) {
  const std::vector<float> scales(300, 0.25f);
  const NestedScales nested = NestScales(scales);
  EXPECT_EQ(nested.offset, 0.25f);
  EXPECT_EQ(UnnestScales(nested, DynamicMap()), scales);
}

TEST(NestScales, NoneAreNone) {
  const NestedScales nested = NestScales({});
  EXPECT_TRUE(nested.codes.empty());
  EXPECT_TRUE(nested.absmax.empty());
}

}  // namespace
}  // namespace narrow
