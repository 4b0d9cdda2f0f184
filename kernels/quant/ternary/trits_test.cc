// TQ1_0's fractions, by every byte and every five trits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "kernels/cpu.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int kBlock = 256;

TEST(TritsTest, EveryFiveTritsComeBack) {
  const BlockCodec& codec = *FindCodec(QuantType::kTQ1_0);
  // A block has 48 bytes of five trits; the last sixteen weights have four.
  std::vector<float> weights;
  for (int block = 0; block * 48 < 243; ++block) {
    std::vector<float> part(kBlock, 0.0f);
    for (int i = 0; i < 240; ++i) {
      const int byte = i < 160 ? i % 32 : 32 + i % 16;
      const int place = i < 160 ? i / 32 : (i - 160) / 16;
      int number = std::min(block * 48 + byte, 242);
      for (int k = 4; k > place; --k) {
        number /= 3;
      }
      part[i] = static_cast<float>(number % 3 - 1) * 0.5f;
    }
    for (int i = 240; i < kBlock; ++i) {
      part[i] = static_cast<float>((block + i) % 3 - 1) * 0.5f;
    }
    weights.insert(weights.end(), part.begin(), part.end());
  }
  const auto n = static_cast<int64_t>(weights.size());
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa > CpuIsa()) {
      continue;
    }
    std::vector<uint8_t> bytes(n / kBlock * Geometry(codec.type).block_bytes);
    codec.encode_for(isa)(weights.data(), 1, n, nullptr, bytes.data());
    std::vector<float> decoded(n);
    codec.decode_for(isa)(bytes.data(), n / kBlock, decoded.data());
    EXPECT_EQ(decoded, weights) << IsaName(isa);
    // The numbers 0 … 47 of the first block.
    for (int number = 0; number < 48; ++number) {
      EXPECT_EQ(bytes[number], (number * 256 + 242) / 243) << number;
    }
  }
}

TEST(TritsTest, HalvesGoAwayFromZero) {
  std::vector<float> weights(kBlock, 0.0f);
  const float below = 0x1.fffffep-2f;  // the last before a half
  const float values[] = {1.0f, 0.5f, -0.5f, below, -below, -0.0f};
  std::copy(std::begin(values), std::end(values), weights.begin());
  const float expected[] = {1, 1, -1, 0, 0, 0};
  for (const QuantType type :
       {QuantType::kTQ1_0, QuantType::kTQ2_0, QuantType::kQ2_0}) {
    const BlockCodec& codec = *FindCodec(type);
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
      if (isa > CpuIsa()) {
        continue;
      }
      std::vector<uint8_t> bytes(kBlock);
      codec.encode_for(isa)(weights.data(), 1, kBlock, nullptr, bytes.data());
      float decoded[kBlock];
      codec.decode_for(isa)(bytes.data(), kBlock / codec.block, decoded);
      for (int i = 0; i < 6; ++i) {
        EXPECT_EQ(decoded[i], expected[i])
            << TypeName(type) << " " << IsaName(isa) << " " << values[i];
      }
    }
  }
}

}  // namespace
}  // namespace narrow
