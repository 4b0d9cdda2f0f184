// Files that llama-imatrix wrote, and damaged copies of them.

#include "calibration/importance/importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "formats/base/file.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGguf[] = "testdata/imatrix/tiny-llama-imatrix.gguf";
constexpr char kLegacy[] = "testdata/imatrix/tiny-llama-imatrix.dat";

std::string Bytes(absl::string_view path) {
  return ReadTextFile(path, 1 << 20).value();
}

absl::StatusOr<ImportanceMatrix> ReadDamaged(const std::string& bytes) {
  const std::string path = JoinPath(::testing::TempDir(), "damaged.imatrix");
  EXPECT_TRUE(WriteTextFile(path, bytes).ok());
  return ReadImportance(path);
}

TEST(ImportanceTest, BothFormatsOfOneRunAgree) {
  const auto gguf = ReadImportance(kGguf);
  const auto legacy = ReadImportance(kLegacy);
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  ASSERT_TRUE(legacy.ok()) << legacy.status();
  EXPECT_EQ(gguf->n_chunks, 64);
  EXPECT_EQ(legacy->n_chunks, 64);
  ASSERT_EQ(gguf->datasets.size(), 1u);
  EXPECT_EQ(gguf->datasets, legacy->datasets);
  ASSERT_EQ(gguf->entries.size(), 28u);
  ASSERT_EQ(legacy->entries.size(), 28u);
  for (const auto& [name, entry] : gguf->entries) {
    const ImportanceEntry* other = legacy->Find(name);
    ASSERT_NE(other, nullptr) << name;
    ASSERT_EQ(entry.mean_sq.size(), other->mean_sq.size()) << name;
    for (size_t i = 0; i < entry.mean_sq.size(); ++i) {
      // The legacy file stores the quotient times the count of calls: two
      // more roundings.
      EXPECT_NEAR(entry.mean_sq[i], other->mean_sq[i],
                  2e-7f * std::fabs(entry.mean_sq[i]));
    }
  }
  EXPECT_EQ(gguf->Find("blk.0.ffn_down.weight")->mean_sq.size(), 768u);
  EXPECT_EQ(gguf->Find("no.such.weight"), nullptr);
}

TEST(ImportanceTest, EveryTruncationIsRefusedOrMerelyLosesTheTrailer) {
  for (const char* path : {kGguf, kLegacy}) {
    const std::string whole = Bytes(path);
    for (size_t n = 0; n < whole.size(); n += 1 + whole.size() / 97) {
      const auto matrix = ReadDamaged(whole.substr(0, n));
      EXPECT_FALSE(matrix.ok()) << path << " cut to " << n;
    }
  }
}

TEST(ImportanceTest, LyingLengthsAreRefusedWithoutAllocation) {
  std::string bytes = Bytes(kLegacy);
  const int32_t huge = 0x7fffffff;
  std::memcpy(&bytes[4], &huge, sizeof(huge));  // length of the first name
  const auto matrix = ReadDamaged(bytes);
  EXPECT_EQ(matrix.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(matrix.status().message()), HasSubstr("entry 1"));
}

TEST(ImportanceTest, ValuesThatNoMeanOfSquaresHasAreNamed) {
  std::string bytes = Bytes(kLegacy);
  int32_t name_length = 0;
  std::memcpy(&name_length, &bytes[4], sizeof(name_length));
  const size_t first_value = 8 + static_cast<size_t>(name_length) + 8;
  for (const float bad : {-1.0f, std::nanf(""), HUGE_VALF}) {
    std::memcpy(&bytes[first_value], &bad, sizeof(bad));
    const auto matrix = ReadDamaged(bytes);
    EXPECT_EQ(matrix.status().code(), absl::StatusCode::kDataLoss) << bad;
    EXPECT_THAT(std::string(matrix.status().message()), HasSubstr("value 0"));
  }
}

TEST(ImportanceTest, AFileOfAnotherKindIsRefused) {
  EXPECT_FALSE(ReadDamaged("").ok());
  EXPECT_FALSE(ReadDamaged("hello, this is a text").ok());
}

TEST(ImportanceTest, MatricesWithoutDataHaveAPolicy) {
  ImportanceCollection collection;
  collection.path = "some.gguf";
  // Means 2 and 3 of two rows, nothing, 4 and 9 of one row.
  collection.entries["experts"] = {3, 2, {4, 6, 0, 0, 4, 9}, {}, {2, 0, 1}};
  collection.entries["nothing"] = {1, 1, {0}, {}, {0}};

  const auto uniform = MeanSquares(collection, MissingImportance::kUniform);
  ASSERT_TRUE(uniform.ok()) << uniform.status();
  EXPECT_THAT(uniform->Find("experts")->mean_sq, ElementsAre(2, 3, 1, 1, 4, 9));
  EXPECT_THAT(uniform->Find("experts")->missing, ElementsAre(1));
  EXPECT_THAT(uniform->Find("nothing")->mean_sq, ElementsAre(1));

  const auto layer = MeanSquares(collection, MissingImportance::kLayer);
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_THAT(layer->Find("experts")->mean_sq,
              ElementsAre(2, 3, 8.0f / 3, 5, 4, 9));
  EXPECT_THAT(layer->Find("experts")->missing, ElementsAre(1));
  EXPECT_THAT(layer->Find("nothing")->mean_sq, ElementsAre(1));

  const auto refused = MeanSquares(collection, MissingImportance::kRefuse);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("2 matrices have no importance data, matrix 1 of 3 of "
                        "'experts' first"));
  collection.entries["experts"].counts[1] = 1;
  collection.entries["nothing"].counts[0] = 1;
  EXPECT_TRUE(MeanSquares(collection, MissingImportance::kRefuse).ok());
}

}  // namespace
}  // namespace narrow
