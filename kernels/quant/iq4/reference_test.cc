#include "kernels/quant/iq4/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cpu.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/iq4/iq4.h"

namespace narrow {
namespace iq4 {
namespace {

TEST(Iq4Test, MiddlesLieBetweenTheCodes) {
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(kMiddles[i], (kCodes[i] + kCodes[i + 1]) / 2.0f);
    EXPECT_EQ(PlaceOf(kCodes[i]), i);
  }
  EXPECT_EQ(PlaceOf(kCodes[15]), 15);
}

TEST(Iq4Test, PlacesAreNearestAndMiddlesGoUp) {
  float weights[kSize] = {};
  uint8_t places[kSize];
  for (int i = 0; i < 15; ++i) {
    weights[0] = kMiddles[i];
    weights[1] = std::nextafter(kMiddles[i], -1000.0f);
    weights[2] = kCodes[i];
    PlaceCodes(weights, 1.0f, places);
    EXPECT_EQ(places[0], i + 1);
    EXPECT_EQ(places[1], i);
    EXPECT_EQ(places[2], i);
  }
  weights[0] = NAN;
  weights[1] = INFINITY;
  weights[2] = -INFINITY;
  PlaceCodes(weights, 1.0f, places);
  EXPECT_EQ(places[0], 15);
  EXPECT_EQ(places[1], 15);
  EXPECT_EQ(places[2], 0);
}

TEST(Iq4Test, SearchFindsTheScaleOfCodes) {
  float weights[kSize];
  float block_weights[kSize];
  for (int i = 0; i < kSize; ++i) {
    weights[i] = 0.125f * static_cast<float>(kCodes[i % 16]);
    block_weights[i] = 1;
  }
  EXPECT_EQ(SearchScale(weights, block_weights), 0.125f);
  // The code of the largest magnitude is negative, so its scale may be too.
  for (float& weight : weights) {
    weight = -weight;
  }
  EXPECT_EQ(SearchScale(weights, block_weights), -0.125f);
  std::fill(weights, weights + kSize, 0.9e-15f);
  EXPECT_EQ(SearchScale(weights, block_weights), 0);
}

// Every middle and its neighbours at every position of a candidate of the
// search, in every instruction set: the bins of the lanes put none of them
// on the wrong side.
TEST(Iq4Test, LanesRoundAsThePlainCodeNextToMiddles) {
  std::vector<float> weights;
  for (int lowest = -134; lowest <= -120; ++lowest) {
    for (const float extreme : {-127.0f, 0.037f, 3.1f}) {
      for (int shift = -2; shift <= 2; ++shift) {
        for (int i = 0; i < kSize; ++i) {
          // What the candidate multiplies to about a middle.
          float weight =
              kMiddles[i % 15] * extreme / static_cast<float>(lowest);
          for (int n = 0; n < std::abs(shift); ++n) {
            weight = std::nextafter(weight, shift < 0 ? -1e9f : 1e9f);
          }
          weights.push_back(i == 31 ? extreme : weight);
        }
      }
    }
  }
  // Whole super-blocks.
  weights.resize((weights.size() + kSuperBlock - 1) / kSuperBlock *
                 kSuperBlock);
  const auto n = static_cast<int64_t>(weights.size());
  for (const QuantType type : {QuantType::kIQ4_NL, QuantType::kIQ4_XS}) {
    const BlockCodec& codec = *FindCodec(type);
    const int64_t n_bytes = n / codec.block * Geometry(type).block_bytes;
    std::vector<uint8_t> expected(n_bytes);
    codec.encode_reference(weights.data(), 1, n, nullptr, expected.data());
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (isa <= CpuIsa()) {
        std::vector<uint8_t> bytes(n_bytes);
        codec.encode_for(isa)(weights.data(), 1, n, nullptr, bytes.data());
        EXPECT_EQ(bytes, expected) << TypeName(type) << " " << IsaName(isa);
      }
    }
  }
}

}  // namespace
}  // namespace iq4
}  // namespace narrow
