// What the encoders in lanes do in their own way: lists cut down, winners of
// whole runs of scales, margins. Weights are chosen to lie where these could
// go wrong.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/quant/codec.h"
#include "kernels/quant/iq2/near_lists.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

constexpr int kUnit = iq2::kUnit;

std::vector<uint16_t> ListAt(const iq2::NearLists& lists, int32_t entry) {
  const uint32_t bits = static_cast<uint32_t>(entry) & 0x7fffffff;
  const uint16_t* words =
      lists.words + (bits >> iq2::kLengthBits) * iq2::kListStep;
  return {words, words + (bits & ((1u << iq2::kLengthBits) - 1))};
}

int LevelOf(int word, int i) { return (word >> (2 * i)) & 3; }

// Whether, with levels sought, `near` is nowhere farther than `far`.
bool LeavesBehind(const int* sought, int near, int far) {
  for (int i = 0; i < kUnit; ++i) {
    const int a = std::abs(LevelOf(near, i) - sought[i]);
    const int b = std::abs(LevelOf(far, i) - sought[i]);
    if (LevelOf(near, i) != LevelOf(far, i) && a >= b) {
      return false;
    }
  }
  return true;
}

void CheckLists(const iq2::NearLists& lists, const GridIndex& index) {
  for (int number = 0; number < index.n_entries; ++number) {
    int sought[kUnit];
    for (int i = 0, left = number; i < kUnit; ++i, left /= 3) {
      sought[i] = left % 3;
    }
    const int32_t entry = lists.entries[number];
    ASSERT_EQ(entry >= 0, index.entries[number] >= 0);
    if (entry >= 0) {
      EXPECT_EQ(lists.points[number], index.entries[number]);
      for (int i = 0; i < kUnit; ++i) {
        EXPECT_EQ(LevelOf(entry, i), sought[i]);
      }
      continue;
    }
    const auto winners = ListAt(lists, entry);
    const auto whole = ListAt(lists, lists.whole_entries[number]);
    const uint16_t* list = index.lists + ~index.entries[number];
    ASSERT_EQ(whole.size(), list[0]);
    size_t next = 0;
    for (size_t j = 0; j < whole.size(); ++j) {
      for (int i = 0; i < kUnit; ++i) {
        ASSERT_EQ(LevelOf(whole[j], i),
                  index.grid->levels[kUnit * list[j + 1] + i]);
      }
      if (next < winners.size() && winners[next] == whole[j]) {
        ++next;
        continue;
      }
      // What is missing was left behind by one that came before.
      bool behind = false;
      for (size_t k = 0; k < next; ++k) {
        behind = behind || LeavesBehind(sought, winners[k], whole[j]);
      }
      ASSERT_TRUE(behind) << "levels " << number << ", place " << j;
    }
    ASSERT_EQ(next, winners.size());
  }
}

TEST(NearListsTest, LackOnlyPointsThatCannotWin) {
  CheckLists(iq2::ListsOf(iq2::Iq2Xxs()), Iq2XxsIndex());
  CheckLists(iq2::ListsOf(iq2::Iq2Xs()), Iq2XsIndex());
  CheckLists(iq2::ListsOf(iq2::Iq2S()), Iq2SIndex());
}

struct Weights {
  const char* name;
  float (*weight)(int block, int n, uint32_t random);
};

float Signed(float value, uint32_t random) {
  return (random & 0x8000) != 0 ? -value : value;
}

// `random`: 16 bits.
const Weights kWeights[] = {
    // Multiples of a fifth of the largest: levels change just there.
    {"fifths",
     [](int block, int, uint32_t random) {
       return Signed(static_cast<float>(random % 6) *
                         (0.3f + static_cast<float>(block % 7)),
                     random);
     }},
    // The same, some a unit in the last place away.
    {"nearly_fifths",
     [](int block, int n, uint32_t random) {
       const float fifth = static_cast<float>(random % 6) *
                           (0.3f + static_cast<float>(block % 7));
       const float off = n % 3 == 0   ? std::nextafter(fifth, 1e9f)
                         : n % 3 == 1 ? std::nextafter(fifth, -1e9f)
                                      : fifth;
       return Signed(random % 6 == 0 ? 0.0f : off, random);
     }},
    // Few values: many points are equally far.
    {"ties",
     [](int, int, uint32_t random) {
       const float values[] = {0, 1, 1, 2, 2, 4, 4.5f, 0.125f};
       return Signed(values[random % 8], random);
     }},
    // Over twelve orders of magnitude within a group.
    {"spread",
     [](int, int, uint32_t random) {
       return Signed(
           std::exp2(static_cast<float>(static_cast<int>(random % 1024) - 512) /
                     25.0f),
           random);
     }},
    // Blocks from what is all but zero to what the sums hold at all.
    {"sizes",
     [](int block, int, uint32_t random) {
       return std::ldexp(static_cast<float>(random) - 32768.0f,
                         (block % 24) * 8 - 100);
     }},
};

// Importance: the same for all; over eight orders of magnitude with zeros.
std::vector<float> Importance(int kind, int64_t n_cols) {
  return kind == 0 ? std::vector<float>(n_cols, 1.0f)
                   : TestImportance(ImportanceKind::kWithZeros, n_cols);
}

TEST(Iq2Test, VariantsEncodeHardWeightsAsTheReference) {
  constexpr int kRows = 17;
  constexpr int kCols = 1024;
  for (const QuantType type :
       {QuantType::kIQ2_XXS, QuantType::kIQ2_XS, QuantType::kIQ2_S}) {
    const BlockCodec& codec = *FindCodec(type);
    const int64_t n_bytes =
        kRows * kCols / codec.block * Geometry(type).block_bytes;
    for (const Weights& weights : kWeights) {
      TestGenerator generator(77);
      std::vector<float> x(kRows * kCols);
      for (int n = 0; n < kRows * kCols; ++n) {
        x[n] = weights.weight(n / 256, n, generator.Next());
      }
      for (const int kind : {0, 1}) {
        const std::vector<float> importance = Importance(kind, kCols);
        std::vector<uint8_t> expected(n_bytes);
        codec.encode_reference(x.data(), kRows, kCols, importance.data(),
                               expected.data());
        for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
          if (isa > CpuIsa()) {
            continue;
          }
          std::vector<uint8_t> bytes(n_bytes);
          codec.encode_for(isa)(x.data(), kRows, kCols, importance.data(),
                                bytes.data());
          EXPECT_EQ(bytes, expected)
              << TypeName(type) << ", " << IsaName(isa) << ", " << weights.name
              << ", importance " << kind;
        }
      }
    }
  }
}

}  // namespace
}  // namespace narrow
