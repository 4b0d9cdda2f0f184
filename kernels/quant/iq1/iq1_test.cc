// The IQ1 encoders in lanes against the plain ones on blocks made to be hard
// for their shortcuts, and the parts of the plain one against definitions.
// ggml's bytes and the codec's contracts are codec_test's.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/quant/codec.h"
#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/near_lists.h"
#include "kernels/quant/iq1/nearest_point.h"
#include "kernels/quant/iq1/split_search.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

// A kind of numbers: `n` random bits below a mantissa, over `n_octaves`.
struct Numbers {
  const char* name;
  int mantissa_bits;
  int n_octaves;
  int top_exponent;
  int zeros_of_16;
  bool negative_only;
};

float Draw(const Numbers& kind, TestGenerator* generator) {
  const int bits = static_cast<int>(generator->Next());
  const int mantissa =
      (1 << kind.mantissa_bits) +
      (kind.mantissa_bits > 0 ? bits & ((1 << kind.mantissa_bits) - 1) : 0);
  const int octave = static_cast<int>(generator->Next()) % kind.n_octaves;
  const uint32_t rest = generator->Next();
  if (static_cast<int>(rest % 16) < kind.zeros_of_16) {
    return rest & 16 ? 0.0f : -0.0f;
  }
  const float size =
      std::ldexp(static_cast<float>(mantissa),
                 kind.top_exponent - kind.mantissa_bits - octave);
  return kind.negative_only || (rest & 32) ? -size : size;
}

const Numbers kWeightKinds[] = {
    {"few values", 1, 2, -4, 0, false},
    {"one magnitude", 0, 1, -4, 0, false},
    {"negative, few values", 2, 1, -4, 0, true},
    {"zeros", 4, 3, -4, 8, false},
    {"many octaves", 15, 20, 4, 0, false},
    {"dense", 15, 4, -3, 0, false},
    {"beyond the square's range", 15, 30, 80, 2, false},
    {"products overflow", 15, 40, 62, 0, false},
    {"products vanish", 15, 40, -60, 0, false},
    {"subnormal", 10, 30, -120, 0, false},
};

const Numbers kImportanceKinds[] = {
    {"one", 0, 1, 0, 0, false},
    {"few values", 1, 2, 0, 0, false},
    {"many octaves", 15, 60, 0, 0, false},
    {"mostly zero", 8, 4, 0, 14, false},
    {"huge", 15, 10, 70, 0, false},
    {"tiny", 15, 10, -90, 4, false},
};

TEST(Iq1Test, VariantsAgreeOnHardBlocks) {
  constexpr int64_t kRows = 7;
  constexpr int64_t kCols = 1024;
  for (const QuantType type : {QuantType::kIQ1_S, QuantType::kIQ1_M}) {
    const BlockCodec& codec = *FindCodec(type);
    for (const Numbers& weight_kind : kWeightKinds) {
      for (const Numbers& importance_kind : kImportanceKinds) {
        SCOPED_TRACE(std::string(TypeName(type)) +
                     ", weights: " + weight_kind.name +
                     ", importance: " + importance_kind.name);
        TestGenerator generator(17);
        std::vector<float> weights(kRows * kCols);
        for (float& weight : weights) {
          weight = Draw(weight_kind, &generator);
        }
        std::vector<float> importance(kCols);
        for (float& number : importance) {
          number = std::fabs(Draw(importance_kind, &generator));
        }
        const size_t n_bytes =
            weights.size() / 256 * Geometry(type).block_bytes;
        std::vector<uint8_t> expected(n_bytes);
        codec.encode_reference(weights.data(), kRows, kCols, importance.data(),
                               expected.data());
        for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
          if (isa > CpuIsa()) {
            continue;
          }
          std::vector<uint8_t> bytes(n_bytes);
          codec.encode_for(isa)(weights.data(), kRows, kCols, importance.data(),
                                bytes.data());
          EXPECT_EQ(bytes, expected) << IsaName(isa);
        }
      }
    }
  }
}

// Of all roundings with levels that rise with the weights, the one found has
// the greatest gain, up to the roundings of its sums.
template <class Type>
void CheckSplit(const float* x, const float* w) {
  constexpr int kSize = Type::kGroup;
  iq1::Split split;
  ASSERT_TRUE(FindSplit(Type(), x, w, &split));
  const auto gain = [&](const uint8_t* levels, int shift, double* scale) {
    double code_x = 0;
    double code_square = 0;
    for (int i = 0; i < kSize; ++i) {
      const bool down = Type::IsDown(shift, i / iq1::kOctet);
      const double q = (down ? iq1::kDown : iq1::kUp)[levels[i]];
      code_x += w[i] * q * x[i];
      code_square += w[i] * q * q;
    }
    *scale = code_x / code_square;
    return code_x * *scale;
  };
  double scale;
  const double found = gain(split.levels, split.shift, &scale);
  EXPECT_NEAR(split.scale, scale, 1e-5 * scale);
  for (int a = 0; a < kSize; ++a) {
    for (int b = 0; b < kSize; ++b) {
      // Levels 1 and 2 begin at these weights, or nowhere.
      uint8_t levels[kSize];
      for (int i = 0; i < kSize; ++i) {
        levels[i] = static_cast<uint8_t>((x[i] >= x[a]) + (x[i] >= x[b]));
      }
      for (int shift = 0; shift < Type::kShifts; ++shift) {
        ASSERT_LE(gain(levels, shift, &scale), found * (1 + 1e-5))
            << "levels begin at " << x[a] << " and " << x[b];
      }
    }
  }
}

TEST(Iq1Test, SplitHasTheGreatestGain) {
  const auto weights = TestWeights(Distribution::kNormal, 20, 32);
  const auto importance = TestImportance(ImportanceKind::kVaried, 32);
  for (int row = 0; row < 20; ++row) {
    CheckSplit<iq1::IQ1_S>(&weights[32 * row], importance.data());
    CheckSplit<iq1::IQ1_M>(&weights[32 * row], importance.data());
  }
}

TEST(Iq1Test, NoSplitWithoutWeightOrOfNaN) {
  std::vector<float> x = TestWeights(Distribution::kNormal, 1, 32);
  iq1::Split split;
  const std::vector<float> none(32, 0.0f);
  EXPECT_FALSE(FindSplit(iq1::IQ1_S(), x.data(), none.data(), &split));
  EXPECT_FALSE(FindSplit(iq1::IQ1_M(), x.data(), none.data(), &split));
  std::vector<float> w(32, 1.0f);
  w[3] = std::nanf("");
  EXPECT_FALSE(FindSplit(iq1::IQ1_S(), x.data(), w.data(), &split));
  EXPECT_FALSE(FindSplit(iq1::IQ1_M(), x.data(), w.data(), &split));
}

TEST(Iq1Test, NearestPointIsTheLeastOfAll) {
  TestGenerator generator(5);
  const Grid& grid = Iq1Grid();
  for (int round = 0; round < 200; ++round) {
    double error[8][3];
    for (auto& of_levels : error) {
      for (double& number : of_levels) {
        number = generator.Next() % 100;  // sums are exact, and often tie
      }
    }
    int best = 0;
    double least = INFINITY;
    for (int p = 0; p < grid.n_points; ++p) {
      double sum = 0;
      for (int i = 0; i < 8; ++i) {
        sum += error[i][grid.levels[8 * p + i]];
      }
      if (sum < least) {
        least = sum;
        best = p;
      }
    }
    EXPECT_EQ(iq1::NearestPoint(error), best);
  }
}

// Numbers of the points in `n` words of levels, without what fills them up.
std::vector<int> PointsOf(const iq1::NearLists& near, int first, int n) {
  EXPECT_EQ(n % iq1::kNearStep, 0);
  std::vector<int> points;
  for (int k = first; k < first + n; ++k) {
    const int point = near.Find(near.levels[k]).first;
    if (points.empty() || points.back() != point) {
      points.push_back(point);
    }
  }
  return points;
}

// Whether `winner` costs no more than `point` in any coordinate of orderly
// octets with the levels `number`.
bool LiesBetween(int number, int winner, int point) {
  const uint8_t* a = Iq1Grid().levels + 8 * winner;
  const uint8_t* b = Iq1Grid().levels + 8 * point;
  for (int i = 0; i < 8; ++i, number /= 3) {
    const int level = number % 3;
    if (a[i] != b[i] && a[i] != level &&
        (level == 1 || std::abs(a[i] - level) > std::abs(b[i] - level))) {
      return false;
    }
  }
  return true;
}

TEST(Iq1Test, ListsHoldTheIndexInItsOrder) {
  const GridIndex& index = Iq1Index();
  const iq1::NearLists& near = iq1::Iq1NearLists();
  for (int number = 0; number < index.n_entries; ++number) {
    int32_t packed = 0;
    for (int i = 0, left = number; i < 8; ++i, left /= 3) {
      packed |= left % 3 << (2 * i);
    }
    const iq1::NearLists::Entry entry = near.Find(packed);
    if (index.entries[number] >= 0) {
      EXPECT_EQ(entry.n, 0);
      EXPECT_EQ(entry.first, index.entries[number]);
      EXPECT_EQ(near.point_levels[entry.first], packed);
      continue;
    }
    const uint16_t* list = index.lists + ~index.entries[number];
    const std::vector<int> whole(list + 1, list + 1 + list[0]);
    EXPECT_EQ(PointsOf(near, entry.first_whole, entry.n_whole), whole);
    // The others lose to an earlier one.
    const std::vector<int> winners = PointsOf(near, entry.first, entry.n);
    size_t n = 0;
    for (const int point : whole) {
      if (n < winners.size() && winners[n] == point) {
        ++n;
        continue;
      }
      bool loses = false;
      for (size_t k = 0; k < n; ++k) {
        loses |= LiesBetween(number, winners[k], point);
      }
      EXPECT_TRUE(loses);
    }
    EXPECT_EQ(n, winners.size());
  }
}

}  // namespace
}  // namespace narrow
