#include "calibration/importance/importance_state.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "formats/base/file.h"
#include "formats/base/hash/fingerprint.h"

namespace narrow {
namespace {

std::string Temp(const std::string& name) {
  return JoinPath(::testing::TempDir(), name);
}

// Without a flush to the disk, which a thousand files would wait for.
void WriteQuickly(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

ImportanceState Some() {
  ImportanceState state;
  state.fingerprint = 0x0123456789abcdef;
  state.n_windows = 3;
  state.nll_sum = 1.5;
  state.nll_squares = 2.25;
  state.n_scored = 7;
  state.shared.push_back(
      {{"a", "b"}, {2, 2, {1, 2, 3, 4}, {5, 6, 7, 8}, {9, 0}}});
  state.shared.push_back({{"c"}, {1, 1, {0.1}, {-0.2}, {1}}});
  return state;
}

TEST(ImportanceStateTest, ReadsBackAsWritten) {
  const std::string path = Temp("state");
  const ImportanceState a = Some();
  ASSERT_TRUE(WriteImportanceState(a, path).ok());
  const auto b = ReadImportanceState(path);
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(b->fingerprint, a.fingerprint);
  EXPECT_EQ(b->n_windows, a.n_windows);
  EXPECT_EQ(b->nll_sum, a.nll_sum);
  EXPECT_EQ(b->nll_squares, a.nll_squares);
  EXPECT_EQ(b->n_scored, a.n_scored);
  ASSERT_EQ(b->shared.size(), a.shared.size());
  for (size_t i = 0; i < a.shared.size(); ++i) {
    EXPECT_EQ(b->shared[i].names, a.shared[i].names);
    EXPECT_EQ(b->shared[i].sums.n_matrices, a.shared[i].sums.n_matrices);
    EXPECT_EQ(b->shared[i].sums.n_cols, a.shared[i].sums.n_cols);
    EXPECT_EQ(b->shared[i].sums.sum, a.shared[i].sums.sum);
    EXPECT_EQ(b->shared[i].sums.sum_sq, a.shared[i].sums.sum_sq);
    EXPECT_EQ(b->shared[i].sums.counts, a.shared[i].sums.counts);
  }
}

TEST(ImportanceStateTest, DamageIsSeen) {
  const std::string path = Temp("damaged");
  ASSERT_TRUE(WriteImportanceState(Some(), path).ok());
  const std::string whole = ReadTextFile(path, 1 << 20).value();
  constexpr size_t kKindBytes = 12;  // the magic, without the version
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    WriteQuickly(path, flipped);
    EXPECT_EQ(ReadImportanceState(path).status().code(),
              i < kKindBytes ? absl::StatusCode::kInvalidArgument
                             : absl::StatusCode::kDataLoss)
        << "byte " << i;
    WriteQuickly(path, whole.substr(0, i));
    EXPECT_EQ(ReadImportanceState(path).status().code(),
              absl::StatusCode::kDataLoss)
        << "cut to " << i;
  }
}

TEST(ImportanceStateTest, AFileOfAnotherKindIsNotOurs) {
  const std::string path = Temp("text");
  WriteQuickly(path, "narrow is the gate");
  const absl::Status status = ReadImportanceState(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), path)) << status;
  WriteQuickly(path, "narrow sums 0000 of an older version");
  EXPECT_EQ(ReadImportanceState(path).status().code(),
            absl::StatusCode::kDataLoss);
  WriteQuickly(path, "");
  EXPECT_EQ(ReadImportanceState(path).status().code(),
            absl::StatusCode::kDataLoss);
}

// Lengths that lie under a checksum that is right.
TEST(ImportanceStateTest, LyingLengthsAreRefused) {
  const std::string path = Temp("lying");
  ASSERT_TRUE(WriteImportanceState(Some(), path).ok());
  const std::string whole = ReadTextFile(path, 1 << 20).value();
  for (size_t i = 16; i + 16 <= whole.size(); ++i) {
    for (const int64_t lie : {int64_t{-1}, int64_t{1} << 62, int64_t{3}}) {
      std::string bytes = whole.substr(0, whole.size() - 8);
      std::memcpy(&bytes[i], &lie, sizeof(lie));
      Fingerprint sum;
      sum.Add(bytes);
      const uint64_t checksum = sum.value();
      bytes.append(reinterpret_cast<const char*>(&checksum), 8);
      WriteQuickly(path, bytes);
      // Numbers may be read as others; what matters is that none is trusted.
      const auto state = ReadImportanceState(path);
      if (state.ok()) {
        for (const SharedSums& shared : state->shared) {
          EXPECT_EQ(static_cast<int64_t>(shared.sums.sum.size()),
                    shared.sums.n_matrices * shared.sums.n_cols);
        }
      }
    }
  }
}

TEST(FingerprintTest, LengthsTellBytesApart) {
  const auto of = [](absl::string_view a, absl::string_view b) {
    Fingerprint print;
    print.Add(a);
    print.Add(b);
    return print.value();
  };
  EXPECT_NE(of("ab", "c"), of("a", "bc"));
  EXPECT_NE(of("", "a"), of("a", ""));
  // FNV-1a of eight zero bytes, from its definition.
  Fingerprint zero;
  zero.Add(int64_t{0});
  uint64_t expected = 14695981039346656037u;
  for (int i = 0; i < 8; ++i) {
    expected *= 1099511628211u;
  }
  EXPECT_EQ(zero.value(), expected);
}

}  // namespace
}  // namespace narrow
