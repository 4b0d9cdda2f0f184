#include "calibration/blockwise/store/hidden_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "calibration/blockwise/store/float_compression.h"

namespace narrow {
namespace {

std::vector<float> SomeFloats(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& value : values) {
    // Any bits at all, and in some places what activations are like.
    const uint32_t bits = static_cast<uint32_t>(random());
    std::memcpy(&value, &bits, sizeof(value));
    if (bits % 3 == 0) {
      value = static_cast<float>(bits % 1000) / 37 - 10;
    }
  }
  return values;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(FloatCompressionTest, GivesBackEveryBit) {
  for (const size_t n : {0u, 1u, 5u, 4099u}) {
    const std::vector<float> values = SomeFloats(n, 7);
    std::vector<uint8_t> bytes;
    CompressFloats(values.data(), static_cast<int64_t>(n), &bytes);
    EXPECT_LE(static_cast<int64_t>(bytes.size()),
              MaxCompressedBytes(static_cast<int64_t>(n)));
    std::vector<float> back(n, 1);
    ASSERT_TRUE(
        DecompressFloats(bytes, static_cast<int64_t>(n), back.data()).ok());
    EXPECT_TRUE(SameBits(values, back)) << n;
  }
}

TEST(FloatCompressionTest, RefusesDamage) {
  const std::vector<float> values(100, 3);
  std::vector<uint8_t> bytes;
  CompressFloats(values.data(), 100, &bytes);
  std::vector<float> back(200);
  for (const int64_t n : {99, 101, 200}) {
    EXPECT_EQ(DecompressFloats(bytes, n, back.data()).code(),
              absl::StatusCode::kDataLoss)
        << n;
  }
  bytes[0] ^= 1;
  EXPECT_EQ(DecompressFloats(bytes, 100, back.data()).code(),
            absl::StatusCode::kDataLoss);
}

// All in memory, all in the file, and some here, some there.
TEST(HiddenStoreTest, ReadsWhatWasWrittenWhereverItIs) {
  HiddenShape shape;
  shape.n_samples = 7;
  shape.sample_tokens = 33;
  shape.hidden_size = 21;
  const size_t numbers = static_cast<size_t>(shape.sample_numbers());
  ThreadPool pool(3);
  for (const int64_t n_in_memory : {7, 0, 3}) {
    auto store =
        HiddenStore::Create(shape, n_in_memory * shape.sample_bytes() + 5,
                            testing::TempDir(), &pool);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->n_spilled(), 7 - n_in_memory);
    std::vector<float> all = SomeFloats(7 * numbers, 1);
    ASSERT_TRUE((*store)->Write(0, 7, all.data()).ok());
    // Again, for some: shorter and longer when compressed.
    std::vector<float> zeros(2 * numbers);
    ASSERT_TRUE((*store)->Write(2, 2, zeros.data()).ok());
    const std::vector<float> others = SomeFloats(numbers, 2);
    ASSERT_TRUE((*store)->Write(3, 1, others.data()).ok());
    std::copy(zeros.begin(), zeros.end(), all.begin() + 2 * numbers);
    std::copy(others.begin(), others.end(), all.begin() + 3 * numbers);

    HiddenStates hidden;
    ASSERT_TRUE((*store)->Read(0, 7, &hidden).ok());
    EXPECT_TRUE(SameBits(hidden.values, all));
    ASSERT_TRUE((*store)->Read(2, 3, &hidden).ok());
    EXPECT_EQ(hidden.n_windows, 3);
    EXPECT_EQ(hidden.first_window, 2);
    EXPECT_EQ(hidden.window_tokens, 33);
    EXPECT_TRUE(SameBits(
        hidden.values, {all.begin() + 2 * numbers, all.begin() + 5 * numbers}));

    // To another store, as a state file would.
    auto other =
        HiddenStore::Create(shape, 2 * shape.sample_bytes(), "", &pool);
    ASSERT_TRUE(other.ok());
    std::vector<std::vector<uint8_t>> compressed;
    ASSERT_TRUE((*store)->ReadCompressed(0, 7, &compressed).ok());
    for (int64_t i = 0; i < 7; ++i) {
      ASSERT_TRUE((*other)
                      ->WriteCompressed(i, compressed[static_cast<size_t>(i)])
                      .ok());
    }
    ASSERT_TRUE((*other)->Read(0, 7, &hidden).ok());
    EXPECT_TRUE(SameBits(hidden.values, all));
  }
}

// Narrower rows take the same memory, so that more of them fit.
TEST(HiddenStoreTest, KeepsRowsOfAnotherWidthInTheSameMemory) {
  HiddenShape shape;
  shape.n_samples = 7;
  shape.sample_tokens = 5;
  shape.hidden_size = 40;
  ThreadPool pool(2);
  auto store = HiddenStore::Create(shape, 2 * shape.sample_bytes(),
                                   testing::TempDir(), &pool);
  ASSERT_TRUE(store.ok()) << store.status();
  const int64_t bytes = (*store)->memory_bytes();
  for (const int64_t width :
       {int64_t{40}, int64_t{16}, int64_t{10}, int64_t{40}}) {
    (*store)->SetWidth(width);
    EXPECT_EQ((*store)->memory_bytes(), bytes);
    const int64_t n_in_memory = 2 * 40 / width;
    EXPECT_EQ((*store)->n_spilled(), std::max<int64_t>(0, 7 - n_in_memory));
    EXPECT_NE((*store)->InMemory(0, n_in_memory > 7 ? 7 : n_in_memory),
              nullptr);
    EXPECT_EQ((*store)->InMemory(n_in_memory, 1), nullptr);
    const std::vector<float> all =
        SomeFloats(static_cast<size_t>(7 * 5 * width), 4);
    ASSERT_TRUE((*store)->Write(0, 7, all.data()).ok());
    HiddenStates hidden;
    ASSERT_TRUE((*store)->Read(0, 7, &hidden).ok());
    EXPECT_EQ(hidden.hidden_size, width);
    EXPECT_TRUE(SameBits(hidden.values, all));
  }
}

}  // namespace
}  // namespace narrow
