#include "calibration/text/seeded_choice.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace narrow {
namespace {

// The first numbers for seed 1234567 of the authors' C code
// (prng.di.unimi.it/splitmix64.c), as commonly published with it.
TEST(SplitMix64Test, GivesThePublishedNumbers) {
  SplitMix64 random(1234567);
  for (const uint64_t want :
       {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
        4593380528125082431u, 16408922859458223821u}) {
    EXPECT_EQ(random.Next(), want);
  }
}

TEST(ChooseSeededTest, ChoosesDifferentOnesInOrder) {
  for (uint64_t seed = 1; seed < 50; ++seed) {
    const std::vector<int64_t> chosen = ChooseSeeded(40, 13, seed);
    ASSERT_EQ(chosen.size(), 13u);
    EXPECT_GE(chosen.front(), 0);
    EXPECT_LT(chosen.back(), 40);
    for (size_t i = 1; i < chosen.size(); ++i) {
      EXPECT_LT(chosen[i - 1], chosen[i]);
    }
  }
  EXPECT_NE(ChooseSeeded(40, 13, 1), ChooseSeeded(40, 13, 2));
  EXPECT_EQ(ChooseSeeded(40, 13, 1), ChooseSeeded(40, 13, 1));
  EXPECT_EQ(ChooseSeeded(3, 3, 9), std::vector<int64_t>({0, 1, 2}));
  EXPECT_TRUE(ChooseSeeded(3, 0, 9).empty());
}

// 4000 draws of 2 among 5: each of the ten pairs 400 times, give or take five
// standard deviations of 19.
TEST(ChooseSeededTest, FavoursNone) {
  std::map<std::vector<int64_t>, int> seen;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    ++seen[ChooseSeeded(5, 2, seed)];
  }
  EXPECT_EQ(seen.size(), 10u);
  for (const auto& [pair, n] : seen) {
    EXPECT_NEAR(n, 400, 95) << pair[0] << ", " << pair[1];
  }
}

}  // namespace
}  // namespace narrow
