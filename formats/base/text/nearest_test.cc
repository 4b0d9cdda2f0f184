#include "formats/base/text/nearest.h"

#include "gtest/gtest.h"

namespace narrow {
namespace {

TEST(NearestName, CountsEditsAndIgnoresCase) {
  EXPECT_EQ(NearestName("Q4_KM", {"Q8_0", "Q4_K_M", "Q4_K_S"}), "Q4_K_M");
  EXPECT_EQ(NearestName("q8", {"Q4_0", "Q8_0"}), "Q8_0");
  EXPECT_EQ(NearestName("x", {}), "");
}

TEST(NearestName, OfEqualsHasTheLongestBeginningInCommon) {
  // One edit from each, by a replacement or a deletion.
  EXPECT_EQ(NearestName("Q4_KX", {"Q2_KX", "Q4_K"}), "Q4_K");
  EXPECT_EQ(NearestName("ab", {"ac", "ad"}), "ac");
}

}  // namespace
}  // namespace narrow
