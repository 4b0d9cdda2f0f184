// What codec_test does not see: that shortened lists lose no nearest point,
// where groups of zeros leave the others in IQ3_S, and the search where it is
// unsure.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/quant/codec.h"
#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/iq3/nearest_point.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace iq3 {
namespace {

// Between 0 and 1.
float Fraction(TestGenerator* generator) {
  return static_cast<float>(generator->Next()) * 0x1p-16f;
}

// The place of the first least distance among `levels`, four a point.
int NearestAmong(const std::vector<std::vector<int>>& levels, const float* x,
                 const float* metric, float scale) {
  int nearest = -1;
  float least = 0;
  for (size_t j = 0; j < levels.size(); ++j) {
    float distance = 0;
    for (int i = 0; i < kPoint; ++i) {
      const float miss =
          scale * static_cast<float>(2 * levels[j][i] + 1) - x[i];
      distance += metric[i] * miss * miss;
    }
    if (nearest < 0 || distance < least) {
      nearest = static_cast<int>(j);
      least = distance;
    }
  }
  return nearest;
}

std::vector<std::vector<int>> LevelsOfEntry(const Candidates& candidates,
                                            uint32_t entry) {
  std::vector<std::vector<int>> levels;
  const int n = static_cast<int>(entry >> kCountShift & kCountMask) + 1;
  for (int j = 0; j < n; ++j) {
    const uint32_t word = candidates.words[(entry & kFirstMask) + j];
    levels.push_back({});
    for (int i = 0; i < kPoint; ++i) {
      levels.back().push_back(static_cast<int>(word >> (8 * i) & 7));
    }
  }
  return levels;
}

template <class Type>
void CompareListsWithCandidates(const GridIndex& index) {
  const Candidates& candidates = CandidatesOf(Type());
  TestGenerator generator(3000);
  int n_shortened = 0;
  for (int number = 0; number < kNumbers; ++number) {
    const int32_t entry = index.entries[number];
    EXPECT_EQ(candidates.points[number], entry);
    std::vector<std::vector<int>> list;
    for (int j = 0; j < (entry >= 0 ? 1 : index.lists[~entry]); ++j) {
      const int point = entry >= 0 ? entry : index.lists[~entry + 1 + j];
      const uint8_t* levels = index.grid->levels + kPoint * point;
      list.emplace_back(levels, levels + kPoint);
    }
    const auto all =
        LevelsOfEntry(candidates, candidates.entries[kNumbers + number]);
    EXPECT_EQ(all, list) << number;
    const auto some = LevelsOfEntry(candidates, candidates.entries[number]);
    n_shortened += some.size() < all.size();
    for (int repeat = 0; repeat < 20; ++repeat) {
      const float scale = 0.01f + Fraction(&generator);
      float x[kPoint];
      float metric[kPoint];
      for (int i = 0; i < kPoint; ++i) {
        const int level = (number >> (3 * i)) & 7;
        // Up to the borders, and far beyond the last.
        float at = static_cast<float>(level) +
                   (Fraction(&generator) - 0.5f) * (1 - 4 * kBorder);
        at += level == kLevels - 1 && repeat % 4 == 0 ? 3.0f : 0.0f;
        at -= level == 0 && repeat % 4 == 1 ? 3.0f : 0.0f;
        x[i] = scale * (2 * at + 1);
        metric[i] = std::exp(8 * (Fraction(&generator) - 0.5f));
        metric[i] = repeat % 5 == 0 && i % 2 == 0 ? 0 : metric[i];
      }
      ASSERT_EQ(some[NearestAmong(some, x, metric, scale)],
                all[NearestAmong(all, x, metric, scale)])
          << number;
    }
  }
  EXPECT_GT(n_shortened, kNumbers / 8);
}

TEST(Iq3Test, ShortenedListsLoseNoNearestPoint) {
  CompareListsWithCandidates<IQ3_XXS>(Iq3XxsIndex());
  CompareListsWithCandidates<IQ3_S>(Iq3SIndex());
}

// All pairs of points with all legal signs, the slow way.
double LeastDistance(const Grid& grid, const float* target,
                     const float* metric) {
  double least = INFINITY;
  double by_parity[2][2] = {{INFINITY, INFINITY}, {INFINITY, INFINITY}};
  for (int half = 0; half < 2; ++half) {
    for (int p = 0; p < grid.n_points; ++p) {
      for (int signs = 0; signs < 16; ++signs) {
        double distance = 0;
        for (int i = 0; i < kPoint; ++i) {
          const double value =
              IQ3_XXS::kMagnitudes[grid.levels[kPoint * p + i]];
          const double miss = (signs >> i & 1 ? -value : value) * 0.125 -
                              target[kPoint * half + i];
          distance += metric[kPoint * half + i] * miss * miss;
        }
        double& best = by_parity[half][__builtin_parity(signs)];
        best = std::min(best, distance);
      }
    }
  }
  least = std::min(by_parity[0][0] + by_parity[1][0],
                   by_parity[0][1] + by_parity[1][1]);
  return least;
}

TEST(Iq3Test, PairsOfPointsAreNearestUnderEvenSigns) {
  const Grid& grid = Iq3XxsGrid();
  TestGenerator generator(4000);
  for (int repeat = 0; repeat < 40; ++repeat) {
    float target[8];
    float metric[8];
    for (int i = 0; i < 8; ++i) {
      target[i] = 16 * (Fraction(&generator) - 0.5f);
      target[i] *= repeat % 3 == 0 && i % 3 == 0 ? 0 : 1;
      metric[i] = 0.1f + Fraction(&generator);
    }
    int8_t codes[8];
    NearestPointPair(grid, IQ3_XXS::kMagnitudes, 0.125f, target, metric, codes);
    double distance = 0;
    int n_minus = 0;
    for (int i = 0; i < 8; ++i) {
      const double miss = codes[i] * 0.125 - target[i];
      distance += metric[i] * miss * miss;
      n_minus += codes[i] < 0;
    }
    EXPECT_EQ(n_minus % 2, 0);
    EXPECT_NEAR(distance, LeastDistance(grid, target, metric),
                1e-9 * (1 + distance));
  }
}

// Importance so uneven that distances differ by rounding alone, and weights
// so even that many are equal: the ways out of the fast search.
TEST(Iq3Test, VariantsAgreeWhereTheFastSearchIsUnsure) {
  for (const QuantType type : {QuantType::kIQ3_XXS, QuantType::kIQ3_S}) {
    const BlockCodec& codec = *FindCodec(type);
    TestGenerator generator(5000);
    const int64_t n_rows = 12;
    const int64_t n_cols = 512;
    std::vector<float> weights(n_rows * n_cols);
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto n = static_cast<float>(generator.Normal());
      const int row = static_cast<int>(i) / static_cast<int>(n_cols);
      weights[i] = row % 3 == 0   ? std::round(n * 0x1p-13f)
                   : row % 3 == 1 ? n * 0x1p-20f
                                  : std::ldexp(n, -static_cast<int>(i % 40));
    }
    std::vector<float> importance(n_cols);
    for (size_t i = 0; i < importance.size(); ++i) {
      importance[i] = std::ldexp(1.0f + Fraction(&generator),
                                 -static_cast<int>(generator.Next() % 90));
    }
    for (const float* column_weights :
         {static_cast<const float*>(nullptr),
          static_cast<const float*>(importance.data())}) {
      std::vector<uint8_t> expected(weights.size() / codec.block *
                                    Geometry(type).block_bytes);
      codec.encode_reference(weights.data(), n_rows, n_cols, column_weights,
                             expected.data());
      for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
        if (isa <= CpuIsa()) {
          std::vector<uint8_t> bytes(expected.size());
          codec.encode_for(isa)(weights.data(), n_rows, n_cols, column_weights,
                                bytes.data());
          EXPECT_EQ(bytes, expected) << TypeName(type) << IsaName(isa);
        }
      }
    }
  }
}

// ggml's layout, kept: see IQ3_S::kClosesGaps.
TEST(Iq3Test, ZeroGroupsLeaveNoGapInIq3S) {
  const BlockCodec& codec = *FindCodec(QuantType::kIQ3_S);
  std::vector<float> weights = TestWeights(Distribution::kNormal, 1, 256);
  std::fill(weights.begin(), weights.begin() + kGroup, 0.0f);
  std::vector<uint8_t> bytes(IQ3_S::kBytes);
  codec.encode_reference(weights.data(), 1, 256, nullptr, bytes.data());
  // Signs of the second group where the first's would be, none at the end.
  constexpr int kSignsAt = 74;
  uint32_t signs = 0;
  for (int i = 0; i < kGroup; ++i) {
    signs |= static_cast<uint32_t>(weights[kGroup + i] < 0) << i;
  }
  EXPECT_EQ(std::memcmp(&bytes[kSignsAt], &signs, 4), 0);
  EXPECT_EQ(std::count(&bytes[kSignsAt + 28], &bytes[kSignsAt + 32], 0), 4);
}

}  // namespace
}  // namespace iq3
}  // namespace narrow
