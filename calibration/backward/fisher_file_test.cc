#include "calibration/backward/fisher_file.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "formats/base/parallel.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::string Path(const std::string& name) {
  return testing::TempDir() + "/" + name;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

FisherWeights Example(bool with_moments) {
  FisherWeights fisher;
  fisher.mean_loss = 2.5;
  fisher.labels = {3, -1, 7};
  const auto shared = std::make_shared<const TokenWeights::Values>(
      TokenWeights::Values{0.5f, 0, 1.5f});
  fisher.tokens.layers["q"] = fisher.tokens.layers["k"] = shared;
  fisher.tokens.layers["down"] = std::make_shared<const TokenWeights::Values>(
      TokenWeights::Values{1, 0, 1});
  fisher.tokens.experts[{"up", 2}] = fisher.tokens.experts[{"gate", 2}] =
      std::make_shared<const TokenWeights::ExpertValues>(
          TokenWeights::ExpertValues{{0, 2}, {0.25f, 1.75f}});
  fisher.output_squares[{"q", -1}] = {0.5, 2};
  fisher.output_squares[{"up", 2}] = {1e-9};
  if (with_moments) {
    auto moments = OutputMoments::Create("");
    EXPECT_TRUE(moments.ok()) << moments.status();
    ThreadPool pool(1);
    const std::vector<float> rows = {1, 2, 3, -1, 0, 2};
    EXPECT_TRUE((*moments)->Add("q", -1, rows.data(), 2, 3, &pool).ok());
    EXPECT_TRUE((*moments)->Add("up", 2, rows.data(), 3, 2, &pool).ok());
    EXPECT_TRUE((*moments)->Flush().ok());
    EXPECT_TRUE((*moments)->Add("q", -1, rows.data(), 1, 3, &pool).ok());
    EXPECT_TRUE((*moments)->Flush().ok());
    fisher.moments = *std::move(moments);
  }
  return fisher;
}

TEST(FisherFile, GivesBackWhatWasWritten) {
  for (const bool with_moments : {false, true}) {
    const FisherWeights want = Example(with_moments);
    const std::string path = Path("whole");
    ASSERT_TRUE(WriteFisherWeights(want, 17, path).ok());
    const auto got = ReadFisherWeights(path, 17);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->mean_loss, 2.5);
    EXPECT_EQ(got->labels, want.labels);
    EXPECT_EQ(got->output_squares, want.output_squares);
    ASSERT_EQ(got->tokens.layers.size(), 3u);
    EXPECT_EQ(*got->tokens.Find("q"), *want.tokens.Find("q"));
    EXPECT_EQ(got->tokens.Find("q"), got->tokens.Find("k"));
    EXPECT_EQ(*got->tokens.Find("down"), *want.tokens.Find("down"));
    ASSERT_EQ(got->tokens.experts.size(), 2u);
    const auto* up = got->tokens.FindExpert("up", 2);
    ASSERT_NE(up, nullptr);
    EXPECT_EQ(up, got->tokens.FindExpert("gate", 2));
    EXPECT_EQ(up->tokens, (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(up->weights, (std::vector<float>{0.25f, 1.75f}));
    ASSERT_EQ(got->moments != nullptr, with_moments);
    if (with_moments) {
      EXPECT_EQ(got->moments->layers().size(), 2u);
      // ([1 2 3] twice, [-1 0 2]) / 3.
      const auto q = got->moments->Read("q", -1);
      ASSERT_TRUE(q.ok()) << q.status();
      const std::vector<double> sums = {3, 4, 4, 4, 8, 12, 4, 12, 22};
      for (size_t i = 0; i < sums.size(); ++i) {
        EXPECT_DOUBLE_EQ((*q)[i], sums[i] / 3) << i;
      }
      EXPECT_EQ(*got->moments->Read("up", 2), *want.moments->Read("up", 2));
    }
  }
}

TEST(FisherFile, RefusesAnotherRuns) {
  const std::string path = Path("other");
  ASSERT_TRUE(WriteFisherWeights(Example(false), 17, path).ok());
  EXPECT_EQ(ReadFisherWeights(path, 18).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadFisherWeights(Path("none"), 17).status().code(),
            absl::StatusCode::kNotFound);
}

// Whatever byte is changed, and wherever the file ends.
TEST(FisherFile, FindsDamage) {
  const std::string path = Path("good"), bad = Path("bad");
  ASSERT_TRUE(WriteFisherWeights(Example(true), 17, path).ok());
  const std::string bytes = ReadAll(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x41);
    WriteAll(bad, changed);
    const auto got = ReadFisherWeights(bad, 17);
    // Sums are looked at when they are read.
    EXPECT_TRUE(!got.ok() || !got->moments->Read("q", -1).ok() ||
                !got->moments->Read("up", 2).ok())
        << "byte " << i;
    WriteAll(bad, bytes.substr(0, i));
    EXPECT_EQ(ReadFisherWeights(bad, 17).status().code(),
              absl::StatusCode::kDataLoss)
        << i << " bytes";
  }
  WriteAll(bad, bytes + "x");
  EXPECT_EQ(ReadFisherWeights(bad, 17).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace narrow
