#include "validate/cache/hidden_rows.h"

#include <cmath>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kWidth = 24;

std::vector<float> RandomRows(int64_t n_rows, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> rows(static_cast<size_t>(n_rows * kWidth));
  for (float& value : rows) {
    value = normal(random);
  }
  return rows;
}

Sha256Digest Key(absl::string_view text) {
  Sha256 hash;
  hash.Add(text);
  return hash.Finish();
}

std::string PathOf(absl::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/", name);
}

std::vector<float> ReadAll(HiddenRows* rows) {
  std::vector<float> values(static_cast<size_t>(rows->n_rows() * kWidth));
  EXPECT_TRUE(rows->Read(0, rows->n_rows(), values.data()).ok());
  return values;
}

// Windows of 3, 5 and 2 rows, saved under `path`; returns their values.
std::vector<float> SaveThree(const std::string& path,
                             HiddenStorage storage = HiddenStorage::kFloat32) {
  auto rows = *HiddenRows::Create(kWidth, storage, "");
  uint32_t seed = 0;
  for (int64_t n : {3, 5, 2}) {
    EXPECT_TRUE(rows->AppendWindow(RandomRows(n, seed++).data(), n).ok());
  }
  EXPECT_TRUE(rows->Save(path, Key("a")).ok());
  return ReadAll(rows.get());
}

TEST(HiddenRows, EveryBitComesBack) {
  const std::string path = PathOf("exact.hidden");
  const std::vector<float> values = SaveThree(path);
  std::vector<float> wanted;
  uint32_t seed = 0;
  for (int64_t n : {3, 5, 2}) {
    const std::vector<float> rows = RandomRows(n, seed++);
    wanted.insert(wanted.end(), rows.begin(), rows.end());
  }
  EXPECT_EQ(values, wanted);
  const auto again =
      HiddenRows::Open(path, Key("a"), kWidth, HiddenStorage::kFloat32, "");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->n_windows(), 3);
  EXPECT_EQ((*again)->window_rows(1), 5);
  EXPECT_EQ(ReadAll(again->get()), wanted);
  // Across the end of a window, and backwards.
  std::vector<float> part(4 * kWidth);
  for (int64_t first : {5, 1, 6}) {
    ASSERT_TRUE((*again)->Read(first, 4, part.data()).ok());
    EXPECT_EQ(part, std::vector<float>(wanted.begin() + first * kWidth,
                                       wanted.begin() + (first + 4) * kWidth));
  }
}

TEST(HiddenRows, MoreWindowsAreSavedWithThoseBefore) {
  const std::string path = PathOf("more.hidden");
  std::vector<float> wanted = SaveThree(path);
  auto rows =
      *HiddenRows::Open(path, Key("a"), kWidth, HiddenStorage::kFloat32, "");
  const std::vector<float> more = RandomRows(4, 9);
  ASSERT_TRUE(rows->AppendWindow(more.data(), 4).ok());
  wanted.insert(wanted.end(), more.begin(), more.end());
  EXPECT_EQ(ReadAll(rows.get()), wanted);
  ASSERT_TRUE(rows->Save(path, Key("a")).ok());
  auto again =
      *HiddenRows::Open(path, Key("a"), kWidth, HiddenStorage::kFloat32, "");
  EXPECT_EQ(ReadAll(again.get()), wanted);
}

TEST(HiddenRows, Bfloat16IsHalfTheSizeAndTheSameBeforeAndAfter) {
  const std::string path = PathOf("bf16.hidden");
  const std::vector<float> values = SaveThree(path, HiddenStorage::kBfloat16);
  auto rows =
      *HiddenRows::Open(path, Key("a"), kWidth, HiddenStorage::kBfloat16, "");
  EXPECT_EQ(ReadAll(rows.get()), values);
  const std::vector<float> exact = RandomRows(3, 0);
  for (size_t i = 0; i < exact.size(); ++i) {
    // Eight bits of mantissa, rounded to nearest.
    EXPECT_NEAR(values[i], exact[i], std::abs(exact[i]) / 256);
  }
  auto large = *HiddenRows::Create(kWidth, HiddenStorage::kBfloat16, "");
  ASSERT_TRUE(large->AppendWindow(RandomRows(1000, 1).data(), 1000).ok());
  EXPECT_LT(large->n_bytes(), 1000 * kWidth * 2);
}

TEST(HiddenRows, OtherKeysAndWidthsAreRefused) {
  const std::string path = PathOf("key.hidden");
  SaveThree(path);
  for (const auto& opened :
       {HiddenRows::Open(path, Key("b"), kWidth, HiddenStorage::kFloat32, ""),
        HiddenRows::Open(path, Key("a"), kWidth + 1, HiddenStorage::kFloat32,
                         "")}) {
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(opened.status().message()),
                HasSubstr("another model, text or protocol"));
  }
  EXPECT_EQ(HiddenRows::Open(PathOf("none"), Key("a"), kWidth,
                             HiddenStorage::kFloat32, "")
                .status()
                .code(),
            absl::StatusCode::kNotFound);
}

// Any byte changed, and any length but the whole: an error that names the
// file, never states that are wrong.
TEST(HiddenRows, EveryDamageIsFound) {
  const std::string path = PathOf("whole.hidden");
  SaveThree(path);
  const std::string whole = *ReadTextFile(path, 1 << 20);
  const std::string bad_path = PathOf("bad.hidden");
  const auto expect_refused = [&](const std::string& bytes, size_t at) {
    std::ofstream(bad_path, std::ios::binary) << bytes;
    const auto opened = HiddenRows::Open(bad_path, Key("a"), kWidth,
                                         HiddenStorage::kFloat32, "");
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr(bad_path));
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    expect_refused(bad, i);
  }
  for (size_t n = 0; n < whole.size(); n += 7) {
    expect_refused(whole.substr(0, n), n);
  }
  expect_refused(whole + "x", whole.size());
}

}  // namespace
}  // namespace narrow
