#include "kernels/quant/device/shared_encoders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 20;
constexpr int64_t kCols = 256;

std::vector<uint8_t> OnTheProcessor(const BlockCodec& codec,
                                    const std::vector<float>& weights) {
  std::vector<uint8_t> bytes(weights.size() / codec.block *
                             Geometry(codec.type).block_bytes);
  codec.EncodeRows(weights.data(), static_cast<int64_t>(weights.size()) / kCols,
                   kCols, nullptr, bytes.data());
  return bytes;
}

// `weights` as bfloat16, which they are.
std::vector<uint8_t> Through(SharedEncoders* encoders, const BlockCodec& codec,
                             const std::vector<float>& weights) {
  std::vector<uint16_t> halves;
  for (const float weight : weights) {
    halves.push_back(Bf16FromFloat(weight));
  }
  std::vector<uint8_t> bytes(OnTheProcessor(codec, weights).size());
  const absl::Status status =
      encoders->EncodeRows(codec, {halves.data(), true},
                           static_cast<int64_t>(weights.size()) / kCols, kCols,
                           nullptr, bytes.data(), "w");
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}

TEST(SharedEncodersTest, ThreadsGetTheCodecsBytes) {
  auto encoders = SharedEncoders::Create(Device::Cpu(), 2, nullptr);
  ASSERT_TRUE(encoders.ok()) << encoders.status();
  const std::vector<float> weights =
      TestWeights(Distribution::kBf16, kRows, kCols);
  std::vector<std::thread> threads;
  for (const QuantType type :
       {QuantType::kQ4_K, QuantType::kQ8_0, QuantType::kIQ4_XS, QuantType::kF16,
        QuantType::kF32}) {
    threads.emplace_back([&, type] {
      const BlockCodec& codec = *FindCodec(type);
      EXPECT_EQ((*encoders)->Supports(type), type != QuantType::kF32);
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(Through(encoders->get(), codec, weights) ==
                    OnTheProcessor(codec, weights))
            << TypeName(type);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(SharedEncodersTest, SaysOnceWhatMemoryIsShortOf) {
  const BlockCodec& codec = *FindCodec(QuantType::kQ6_K);
  const std::vector<float> weights =
      TestWeights(Distribution::kBf16, kRows, kCols);
  // Two slots of 20 rows take some 30 kB; of one row, some 1.5 kB.
  for (const auto& [limit, words] :
       {std::pair<int64_t, const char*>{12000, "batches of"},
        {1000, "the processor encodes"}}) {
    std::vector<std::string> notes;
    auto encoders = SharedEncoders::Create(
        Device::Cpu(limit), 1,
        [&](absl::string_view note) { notes.emplace_back(note); });
    ASSERT_TRUE(encoders.ok());
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(Through(encoders->get(), codec, weights) ==
                  OnTheProcessor(codec, weights));
    }
    ASSERT_FALSE(notes.empty());
    EXPECT_LE(notes.size(), 2u);
    EXPECT_THAT(notes.back(), testing::HasSubstr(words));
    EXPECT_THAT(notes.back(), testing::HasSubstr("'w'"));
  }
}

}  // namespace
}  // namespace narrow
