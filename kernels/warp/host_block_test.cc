#include "kernels/warp/host_block.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace narrow {
namespace warp {
namespace {

struct State {
  uint32_t left[kLeftRegisters];
  uint32_t right[2 * kRightRegisters];
  float sums[kSumRegisters];
  float value;
};

// Small integers, which bfloat16 and float32 hold exactly.
int LeftAt(int i, int k) { return (3 * i + 5 * k) % 7 - 3; }
int RightAt(int k, int j) { return (2 * k + 7 * j) % 9 - 4; }

TEST(FragmentsTest, EveryElementHasOnePlace) {
  std::set<std::pair<int, int>> left, right, sums;
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int r = 0; r < kLeftRegisters; ++r) {
      for (int half : {0, 1}) {
        left.insert({LeftRow(lane, r), LeftDepth(lane, r) + half});
      }
    }
    for (int r = 0; r < kRightRegisters; ++r) {
      for (int half : {0, 1}) {
        right.insert({RightDepth(lane, r) + half, RightCol(lane)});
      }
    }
    for (int r = 0; r < kSumRegisters; ++r) {
      sums.insert({SumRow(lane, r), SumCol(lane, r)});
    }
  }
  EXPECT_EQ(left.size(), 256u);
  EXPECT_EQ(right.size(), 128u);
  EXPECT_EQ(sums.size(), 128u);
  EXPECT_EQ(*left.rbegin(), std::make_pair(15, 15));
  EXPECT_EQ(*right.rbegin(), std::make_pair(15, 7));
  EXPECT_EQ(*sums.rbegin(), std::make_pair(15, 7));
  // The documentation's examples: lane 5 (group 1, place 1).
  EXPECT_EQ(LeftRow(5, 3), 9);
  EXPECT_EQ(LeftDepth(5, 3), 10);
  EXPECT_EQ(RightDepth(5, 1), 10);
  EXPECT_EQ(SumRow(5, 2), 9);
  EXPECT_EQ(SumCol(5, 3), 3);
}

// Loads both factors, as they are or transposed, and multiplies.
void ExpectProduct(bool transposed) {
  alignas(16) uint16_t left[16][16];
  alignas(16) uint16_t right[16][16];  // [columns, depth]; two products wide
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < 16; ++k) {
      (transposed ? left[k][i] : left[i][k]) =
          static_cast<uint16_t>(RoundToBf16(LeftAt(i, k)));
      (transposed ? right[k][i] : right[i][k]) =
          static_cast<uint16_t>(RoundToBf16(RightAt(k, i)));
    }
  }
  HostBlock<State> block(kLanes);
  block.EachWarp([&](HostWarp<State> warp) {
    warp.Each([](int, State& state) {
      for (float& sum : state.sums) {
        sum = 100;
      }
    });
    const auto lefts = [](State& state) { return state.left; };
    const auto rights = [](State& state) { return state.right; };
    if (transposed) {
      warp.LoadMatrices<true>(
          [&](int lane) {
            return &left[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8];
          },
          lefts);
      warp.LoadMatrices<true>(
          [&](int lane) {
            return &right[lane / 8 % 2 * 8 + lane % 8][lane / 16 * 8];
          },
          rights);
    } else {
      warp.LoadMatrices<false>(
          [&](int lane) {
            return &left[lane / 8 % 2 * 8 + lane % 8][lane / 16 * 8];
          },
          lefts);
      warp.LoadMatrices<false>(
          [&](int lane) {
            return &right[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8];
          },
          rights);
    }
    for (int product = 0; product < 2; ++product) {
      warp.Multiply([](State& state) { return state.sums; }, lefts,
                    [product](State& state) {
                      return state.right + product * kRightRegisters;
                    });
    }
    warp.Each([&](int lane, State& state) {
      for (int r = 0; r < kSumRegisters; ++r) {
        int wanted = 100;
        for (int k = 0; k < 16; ++k) {
          wanted +=
              LeftAt(SumRow(lane, r), k) *
              (RightAt(k, SumCol(lane, r)) + RightAt(k, SumCol(lane, r) + 8));
        }
        EXPECT_EQ(state.sums[r], wanted) << lane << " " << r;
      }
    });
  });
}

TEST(HostWarpTest, MultipliesWhatItLoads) {
  ExpectProduct(false);
  ExpectProduct(true);
}

TEST(HostWarpTest, QuadsFold) {
  HostBlock<State> block(kLanes);
  block.EachWarp([](HostWarp<State> warp) {
    warp.Each([](int lane, State& state) { state.value = lane; });
    warp.FoldQuads([](State& state) { return &state.value; },
                   [](float a, float b) { return a + b; });
    warp.Each([](int lane, State& state) {
      EXPECT_EQ(state.value, 16 * (lane / 4) + 6);
    });
  });
}

TEST(HostBlockTest, CopiesLandWhenWaitedFor) {
  alignas(16) const uint16_t from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  alignas(16)
      uint16_t to[2][8] = {{9, 9, 9, 9, 9, 9, 9, 9}, {9, 9, 9, 9, 9, 9, 9, 9}};
  HostBlock<State> block(kLanes);
  block.Copy(from, 16, to[0]);
  block.Commit();
  block.Copy(from, 6, to[1]);
  block.Commit();
  EXPECT_EQ(to[0][0], 9);
  block.Wait<1>();
  EXPECT_EQ(to[0][7], 8);
  EXPECT_EQ(to[1][0], 9);
  block.Wait<0>();
  EXPECT_EQ(to[1][2], 3);
  EXPECT_EQ(to[1][3], 0);
}

}  // namespace
}  // namespace warp
}  // namespace narrow
