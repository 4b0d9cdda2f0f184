// What is special to the k-quants: codec_test holds them to what every codec
// must do.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/k/scale_search.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace k_quants {
namespace {

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512};
constexpr const BlockCodec* kCodecs[] = {&kQ2_KCodec, &kQ3_KCodec, &kQ4_KCodec,
                                         &kQ5_KCodec, &kQ6_KCodec};

// Weights that take the searches off their beaten paths.
enum class HardWeights {
  kPlateau,  // close to -1: ranges of a few last bits, so quotients beyond
             // 2^22 and lines that do not pass near the weights
  kSpread,   // sub-blocks of very different size: stored scales of zero
  kSparse,   // one in 16 is not zero
  kFaint,    // about the limit below which ggml calls a sub-block zero
};

float HardWeight(HardWeights weights, int row, int col, int n) {
  switch (weights) {
    case HardWeights::kPlateau:
      return static_cast<float>(-1.0 + std::ldexp(n, -44 + row % 12));
    case HardWeights::kSpread:
      return static_cast<float>(
          std::ldexp(n, -30 + (col / 16 * 7 + row * 5) % 24));
    case HardWeights::kSparse:
      return n % 16 == 0 ? static_cast<float>(std::ldexp(n, -20)) : 0.0f;
    case HardWeights::kFaint:
      return static_cast<float>(std::ldexp(n, -70 + row % 8 + col / 16 % 8));
  }
  return 0;
}

constexpr int kRows = 40;
constexpr int kCols = 512;

std::vector<float> MakeHardWeights(HardWeights kind) {
  TestGenerator generator(3000 + static_cast<int>(kind));
  std::vector<float> weights;
  for (int row = 0; row < kRows; ++row) {
    for (int col = 0; col < kCols; ++col) {
      weights.push_back(HardWeight(kind, row, col, generator.Normal()));
    }
  }
  return weights;
}

std::vector<uint8_t> Encode(EncodeRowsFn encode, const BlockCodec& codec,
                            const std::vector<float>& weights, int64_t n_cols,
                            const std::vector<float>& importance) {
  const int64_t n_rows = static_cast<int64_t>(weights.size()) / n_cols;
  std::vector<uint8_t> bytes(weights.size() / kSuperBlock *
                             Geometry(codec.type).block_bytes);
  encode(weights.data(), n_rows, n_cols,
         importance.empty() ? nullptr : importance.data(), bytes.data());
  return bytes;
}

uint64_t HashOf(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) {
    hash = (hash ^ byte) * 0x100000001b3;
  }
  return hash;
}

struct HardCase {
  const BlockCodec* codec;
  HardWeights weights;
  ImportanceKind importance;
  uint64_t hash;
};

constexpr HardCase kHardCases[] = {
#define NARROW_HARD_BLOCKS(type, weights, importance, hash) \
  {&k##type##Codec, HardWeights::weights, ImportanceKind::importance, hash},
#include "kernels/quant/k/hard_blocks.inc"
#undef NARROW_HARD_BLOCKS
};

TEST(KQuantsTest, EncodesHardBlocksAsGgml) {
  for (const HardCase& hard : kHardCases) {
    const std::vector<float> weights = MakeHardWeights(hard.weights);
    const std::vector<float> importance =
        TestImportance(hard.importance, kCols);
    for (const Isa isa : kIsas) {
      if (isa > CpuIsa()) {
        continue;
      }
      EXPECT_EQ(HashOf(Encode(hard.codec->encode_for(isa), *hard.codec, weights,
                              kCols, importance)),
                hard.hash)
          << TypeName(hard.codec->type) << ", weights "
          << static_cast<int>(hard.weights) << ", importance "
          << ImportanceName(hard.importance) << ", " << IsaName(isa).data();
    }
  }
}

TEST(KQuantsTest, FillsLanesFromAnyNumberOfRows) {
  const std::vector<float> importance =
      TestImportance(ImportanceKind::kVaried, 768);
  for (const BlockCodec* codec : kCodecs) {
    for (int n_rows = 1; n_rows <= 17; ++n_rows) {
      const std::vector<float> weights =
          TestWeights(Distribution::kNormal, n_rows, 768);
      const std::vector<uint8_t> expected =
          Encode(codec->encode_reference, *codec, weights, 768, importance);
      for (const Isa isa : kIsas) {
        if (isa <= CpuIsa()) {
          EXPECT_EQ(
              Encode(codec->encode_for(isa), *codec, weights, 768, importance),
              expected)
              << TypeName(codec->type) << ", " << n_rows << " rows, "
              << IsaName(isa).data();
        }
      }
    }
  }
}

TEST(KQuantsTest, OneBadWeightSpoilsOneBlock) {
  const std::vector<float> weights =
      TestWeights(Distribution::kNormal, 33, 256);
  constexpr int kBadBlock = 5;
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> spoilt = weights;
    spoilt[kBadBlock * kSuperBlock + 77] = bad;
    for (const BlockCodec* codec : kCodecs) {
      const size_t block_bytes = Geometry(codec->type).block_bytes;
      const auto clean =
          Encode(codec->encode_reference, *codec, weights, 256, {});
      const auto expected =
          Encode(codec->encode_reference, *codec, spoilt, 256, {});
      for (const Isa isa : kIsas) {
        if (isa > CpuIsa()) {
          continue;
        }
        const auto bytes =
            Encode(codec->encode_for(isa), *codec, spoilt, 256, {});
        EXPECT_EQ(bytes, expected) << TypeName(codec->type);
        for (size_t block = 0; block < 33; ++block) {
          if (block != kBadBlock) {
            EXPECT_EQ(std::memcmp(&bytes[block * block_bytes],
                                  &clean[block * block_bytes], block_bytes),
                      0)
                << TypeName(codec->type) << ", block " << block;
          }
        }
      }
    }
  }
}

// Known optima: numbers that lie on a grid are found to lie on it.

TEST(ScaleSearchTest, FindsTheLineThroughWeightsOnIt) {
  // Powers of two keep every product exact.
  constexpr float kScale = 0.25f;
  constexpr float kLow = -1.5f;
  float x[32], weights[32];
  for (int i = 0; i < 32; ++i) {
    x[i] = kScale * static_cast<float>(i % 16) + kLow;
    weights[i] = 1;
  }
  for (const CodeRule rule :
       {CodeRule::kRoundThenBound, CodeRule::kBoundThenRound}) {
    int8_t codes[32];
    const AffineLine line =
        SearchAffine({x, 32}, weights, 15, kImportanceGrid, false, rule, codes);
    EXPECT_EQ(line.scale, kScale);
    EXPECT_EQ(line.low, kLow);
    for (int i = 0; i < 32; ++i) {
      EXPECT_EQ(codes[i], i % 16);
    }
  }
}

TEST(ScaleSearchTest, PositiveWeightsGetNoMinimum) {
  float x[16], weights[16];
  for (int i = 0; i < 16; ++i) {
    x[i] = 7.0f + static_cast<float>(i) / 16;
    weights[i] = 1;
  }
  int8_t codes[16];
  const AffineLine line = SearchAffine({x, 16}, weights, 3, kImportanceGrid,
                                       false, CodeRule::kBoundThenRound, codes);
  EXPECT_EQ(line.low, 0);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(codes[i], 3);
  }
}

TEST(ScaleSearchTest, FindsTheScaleOfIntegers) {
  float x[16];
  for (int i = 0; i < 16; ++i) {
    x[i] = 0.125f * static_cast<float>(i % 8 - 4);
  }
  int8_t codes[16];
  EXPECT_EQ(SearchSymmetric({x, 16}, nullptr, 4, codes), 0.125f);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(codes[i], i % 8 - 4);
  }
  EXPECT_EQ(DescendSymmetric({x, 16}, 4, codes), 0.125f);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(codes[i], i % 8 - 4);
  }
}

TEST(ScaleSearchTest, ThePeakGetsTheLowestCode) {
  // 4 fits the codes -4 … 3 only with a negative scale.
  const float x[4] = {4, -3, 1, 0};
  int8_t codes[4];
  EXPECT_EQ(SearchSymmetric({x, 4}, nullptr, 4, codes), -1.0f);
  EXPECT_EQ(codes[0], -4);
  EXPECT_EQ(codes[1], 3);
}

TEST(ScaleSearchTest, WeightsBelowTheLimitAreZero) {
  const float x[4] = {9e-16f, -9e-16f, 0, 1e-16f};
  int8_t codes[4];
  EXPECT_EQ(SearchSymmetric({x, 4}, nullptr, 4, codes), 0);
  EXPECT_EQ(codes[0], -4);
  EXPECT_EQ(DescendSymmetric({x, 4}, 4, codes), 0);
  uint8_t unit_codes[4];
  const float ones[4] = {1, 1, 1, 1};
  EXPECT_EQ(SearchUnit({x, 4}, ones, 15, unit_codes), 0);
  EXPECT_EQ(unit_codes[0], 0);
}

TEST(ScaleSearchTest, FindsTheUnitOfIntegers) {
  float x[16], weights[16];
  for (int i = 0; i < 16; ++i) {
    x[i] = 0.5f * static_cast<float>(i);
    weights[i] = static_cast<float>(1 + i % 3);
  }
  uint8_t codes[16];
  EXPECT_EQ(SearchUnit({x, 16}, weights, 15, codes), 0.5f);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(codes[i], i);
  }
}

TEST(KQuantsTest, RoundBoundsWildTargets) {
  for (const BlockCodec* codec : kCodecs) {
    BlockFields fields;
    fields.d = 0x1p-10f;
    fields.scales[0] = 1;
    for (const float target : {-1e30f, 1e30f}) {
      int8_t code = 0;
      float value = 0;
      codec->round(fields, 0, &target, nullptr, &code, &value);
      EXPECT_EQ(code,
                target < 0 ? codec->ranges.code_low : codec->ranges.code_high)
          << TypeName(codec->type);
      EXPECT_EQ(value, static_cast<float>(code) * fields.d);
    }
  }
}

}  // namespace
}  // namespace k_quants
}  // namespace narrow
