#include "validate/llama_base/base_file.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/measures/compare_logits.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

// An odd vocabulary, so that rows are padded; two windows of three rows.
constexpr BaseHeader kHeader = {8, 101, 2};

std::string PathOf(absl::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/", name);
}

std::vector<int32_t> Tokens() {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 16; ++i) {
    tokens.push_back(i * 37 % 101);
  }
  return tokens;
}

// Rows whose least logits lie `span` below their greatest ones, roughly.
std::vector<float> Logits(float span, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-span, 0);
  std::vector<float> logits(6 * 101);
  for (float& value : logits) {
    value = uniform(random);
  }
  return logits;
}

std::string WriteBase(const std::string& path,
                      const std::vector<float>& logits) {
  auto writer = *BaseWriter::Create(path, kHeader, Tokens());
  EXPECT_TRUE(writer->AppendRows(logits.data(), 101, 6).ok());
  EXPECT_TRUE(writer->Finish().ok());
  return *ReadTextFile(path, 1 << 20);
}

TEST(BaseFile, IsLaidOutAsDescribed) {
  const std::string bytes = WriteBase(PathOf("layout.kld"), Logits(10, 1));
  EXPECT_EQ(bytes.substr(0, 8), "_logits_");
  int32_t numbers[4];
  std::memcpy(numbers, bytes.data() + 8, sizeof(numbers));
  EXPECT_EQ(numbers[0], 8);
  EXPECT_EQ(numbers[1], 101);
  EXPECT_EQ(numbers[2], 2);
  EXPECT_EQ(numbers[3], 0);  // the first token
  // 102 codes and four more of two bytes each, six times.
  EXPECT_EQ(bytes.size(), 20 + 16 * 4 + 6 * 106 * 2);
}

// Within 16 nats nothing is clipped, and a row differs from the exact one by
// half a level (16 / 65535) at most.
TEST(BaseFile, ComparisonsAreThoseOfTheLogitsWhereNothingIsClipped) {
  const std::string path = PathOf("near.kld");
  const std::vector<float> p = Logits(9, 2);
  const std::vector<float> q = Logits(12, 3);
  WriteBase(path, p);
  const auto base = BaseFile::Open(path);
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ((*base)->tokens(), Tokens());
  for (int64_t row = 0; row < 6; ++row) {
    std::vector<float> p_row(p.begin() + row * 101,
                             p.begin() + (row + 1) * 101);
    std::vector<float> q_row(q.begin() + row * 101,
                             q.begin() + (row + 1) * 101);
    const auto coarse = (*base)->Compare(row, q_row.data(), 101, 7);
    ASSERT_TRUE(coarse.ok()) << coarse.status();
    ReferenceRow reference;
    reference.Load(p_row.data(), 101, 7);
    const TokenComparison exact = reference.Compare(q_row.data(), 101);
    EXPECT_NEAR(coarse->reference_nll, exact.reference_nll, 2e-4);
    EXPECT_NEAR(coarse->candidate_nll, exact.candidate_nll, 1e-6);
    EXPECT_NEAR(coarse->divergence, exact.divergence, 1e-3);
    EXPECT_EQ(coarse->same_top, exact.same_top);
  }
}

// A token 30 nats down is stored as 16 nats down, and no part of the sum.
TEST(BaseFile, WhatIsClippedIsLeftOut) {
  const std::string path = PathOf("clip.kld");
  std::vector<float> p(6 * 101, -30.0f);
  for (int64_t row = 0; row < 6; ++row) {
    p[static_cast<size_t>(row * 101)] = 0;
    p[static_cast<size_t>(row * 101 + 1)] = -1;
  }
  WriteBase(path, p);
  const auto base = *BaseFile::Open(path);
  std::vector<float> q(101, 0.0f);
  const TokenComparison token = *base->Compare(0, q.data(), 101, 2);
  const double sum = 1 + std::exp(-1.0);
  EXPECT_NEAR(token.reference_nll, 16 + std::log(sum), 1e-3);
  double divergence = 0;
  for (double log_p : {-std::log(sum), -1 - std::log(sum)}) {
    divergence += std::exp(log_p) * (log_p + std::log(101.0));
  }
  EXPECT_NEAR(token.divergence, divergence, 1e-3);
}

TEST(BaseFile, RowsThatAreFlatHaveOneLevel) {
  const std::string path = PathOf("flat.kld");
  WriteBase(path, std::vector<float>(6 * 101, 2.5f));
  const auto base = *BaseFile::Open(path);
  std::vector<float> q(101, 0.0f);
  const TokenComparison token = *base->Compare(5, q.data(), 101, 2);
  EXPECT_NEAR(token.reference_nll, std::log(101.0), 1e-5);
  EXPECT_NEAR(token.divergence, 0, 1e-5);
  EXPECT_TRUE(token.same_top);
}

absl::Status OpenBytes(const std::string& bytes) {
  const std::string path = PathOf("hostile.kld");
  std::ofstream(path, std::ios::binary) << bytes;
  return BaseFile::Open(path).status();
}

std::string WithInt(std::string bytes, size_t offset, int32_t value) {
  std::memcpy(&bytes[offset], &value, sizeof(value));
  return bytes;
}

TEST(BaseFile, HostileFilesAreRefused) {
  const std::string good = WriteBase(PathOf("good.kld"), Logits(10, 4));
  const struct {
    std::string bytes;
    const char* words;
  } cases[] = {
      {"", "does not begin"},
      {"_logits", "does not begin"},
      {"GGUF" + good.substr(4), "does not begin"},
      {good.substr(0, good.size() - 1), "was the program that wrote it"},
      {good + "x", "take"},
      {WithInt(good, 8, 0), "n_ctx is 0"},
      {WithInt(good, 8, -8), "n_ctx is -8"},
      {WithInt(good, 8, 1 << 30), "n_ctx is 1073741824"},
      {WithInt(good, 12, 0), "n_vocab is 0"},
      {WithInt(good, 12, 0x7fffffff), "n_vocab is 2147483647"},
      {WithInt(good, 16, -1), "n_chunk is -1"},
      {WithInt(good, 16, 1 << 30), "the file has"},
      {WithInt(WithInt(WithInt(good, 8, 1 << 20), 12, 1 << 24), 16, 1 << 30),
       "more than 2^63"},
      {WithInt(good, 20 + 4 * 5, 101), "token 5 is number 101 of 101"},
      {WithInt(good, 20 + 4 * 5, -1), "token 5 is number -1"},
  };
  EXPECT_TRUE(OpenBytes(good).ok());
  for (const auto& c : cases) {
    const absl::Status status = OpenBytes(c.bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.words));
    EXPECT_THAT(std::string(status.message()), HasSubstr("hostile.kld"));
  }
}

TEST(BaseFile, RowsOfNoLogProbabilitiesAreRefused) {
  const std::string good = WriteBase(PathOf("rows.kld"), Logits(10, 5));
  const size_t first_row = 20 + 16 * 4;
  for (float bad : {-1.0f, 1e30f, std::nanf(""), INFINITY}) {
    for (size_t field : {0, 4}) {
      if (bad == -1.0f && field == 4) {
        continue;  // a least log-probability of -1 is one
      }
      std::string bytes = good;
      std::memcpy(&bytes[first_row + field], &bad, sizeof(bad));
      ASSERT_TRUE(OpenBytes(bytes).ok());
      const auto base = *BaseFile::Open(PathOf("hostile.kld"));
      std::vector<float> q(101, 0.0f);
      EXPECT_EQ(base->Compare(0, q.data(), 101, 0).status().code(),
                absl::StatusCode::kDataLoss)
          << bad << " at " << field;
      EXPECT_TRUE(base->Compare(1, q.data(), 101, 0).ok());
    }
  }
}

TEST(CheckBasePath, OtherFilesAreNotReplaced) {
  const std::string path = PathOf("model.gguf");
  ASSERT_TRUE(WriteTextFile(path, "GGUF....").ok());
  EXPECT_THAT(std::string(CheckBasePath(path).message()),
              HasSubstr("which is none"));
  WriteBase(PathOf("old.kld"), Logits(5, 7));
  EXPECT_TRUE(CheckBasePath(PathOf("old.kld")).ok());
  EXPECT_TRUE(CheckBasePath(PathOf("new.kld")).ok());
  EXPECT_FALSE(FileExists(PathOf("new.kld")));
}

TEST(BaseWriter, NothingIsLeftOfAnUnfinishedFile) {
  const std::string path = PathOf("unfinished.kld");
  auto writer = *BaseWriter::Create(path, kHeader, Tokens());
  ASSERT_TRUE(writer->AppendRows(Logits(5, 6).data(), 101, 5).ok());
  EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kFailedPrecondition);
  writer.reset();
  EXPECT_FALSE(FileExists(path));
}

}  // namespace
}  // namespace narrow
