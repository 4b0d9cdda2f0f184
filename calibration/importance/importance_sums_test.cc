// Files of llama-imatrix read, combined and written again, and damaged ones.

#include "calibration/importance/importance_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "formats/base/file.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/gguf/gguf_writer.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGguf[] = "testdata/imatrix/tiny-llama-imatrix.gguf";
constexpr char kLegacy[] = "testdata/imatrix/tiny-llama-imatrix.dat";
constexpr char kExperts[] = "testdata/imatrix/mixtral-imatrix.gguf";

std::string Temp(const std::string& name) {
  return JoinPath(::testing::TempDir(), name);
}

std::string Bytes(absl::string_view path) {
  return ReadTextFile(path, 1 << 20).value();
}

ImportanceCollection Read(const std::string& path) {
  auto collection = ReadImportanceSums(path);
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? *std::move(collection) : ImportanceCollection();
}

// One entry "t" of two matrices of two columns.
ImportanceCollection Small(std::vector<double> sum_sq, std::vector<double> sum,
                           std::vector<int64_t> counts) {
  ImportanceCollection collection;
  collection.path = "small";
  collection.chunk_size = 2;
  ImportanceSums& t = collection.entries["t"];
  t.n_matrices = static_cast<int64_t>(counts.size());
  t.n_cols = static_cast<int64_t>(sum_sq.size() / counts.size());
  t.sum_sq = std::move(sum_sq);
  t.sum = std::move(sum);
  t.counts = std::move(counts);
  return collection;
}

void ExpectSame(const ImportanceCollection& a, const ImportanceCollection& b) {
  EXPECT_EQ(a.datasets, b.datasets);
  EXPECT_EQ(a.n_chunks, b.n_chunks);
  EXPECT_EQ(a.chunk_size, b.chunk_size);
  ASSERT_EQ(a.entries.size(), b.entries.size());
  for (const auto& [name, sums] : a.entries) {
    const auto other = b.entries.find(name);
    ASSERT_NE(other, b.entries.end()) << name;
    EXPECT_EQ(sums.n_matrices, other->second.n_matrices) << name;
    EXPECT_EQ(sums.n_cols, other->second.n_cols) << name;
    EXPECT_EQ(sums.sum_sq, other->second.sum_sq) << name;
    EXPECT_EQ(sums.sum, other->second.sum) << name;
    EXPECT_EQ(sums.counts, other->second.counts) << name;
  }
}

TEST(ImportanceSumsTest, ReadsWhatLlamaImatrixStores) {
  const ImportanceCollection tiny = Read(kGguf);
  EXPECT_EQ(tiny.n_chunks, 64);
  EXPECT_EQ(tiny.chunk_size, 512);
  ASSERT_EQ(tiny.entries.count("blk.3.ffn_down.weight"), 1u);
  const ImportanceSums& down = tiny.entries.at("blk.3.ffn_down.weight");
  EXPECT_EQ(down.n_matrices, 1);
  EXPECT_EQ(down.n_cols, 768);
  EXPECT_EQ(down.sum.size(), 768u);
  EXPECT_THAT(down.counts, ElementsAre(64 * 512));

  const ImportanceCollection experts = Read(kExperts);
  const ImportanceSums& gate = experts.entries.at("blk.1.ffn_gate_exps.weight");
  EXPECT_EQ(gate.n_matrices, 4);
  EXPECT_EQ(gate.n_cols, 64);
  // Two experts a token.
  EXPECT_EQ(gate.counts[0] + gate.counts[1] + gate.counts[2] + gate.counts[3],
            2 * 4 * 64);
}

TEST(ImportanceSumsTest, GgufFilesReadBackAsWritten) {
  for (const char* path : {kGguf, kExperts}) {
    const ImportanceCollection collection = Read(path);
    const std::string copy = Temp("copy.gguf");
    ASSERT_TRUE(WriteImportanceGguf(collection, copy).ok());
    ExpectSame(collection, Read(copy));
  }
}

// Sums of the two formats come from two runs of one command.
TEST(ImportanceSumsTest, LegacyFilesAreThoseOfLlamaImatrix) {
  const std::string copy = Temp("copy.dat");
  ASSERT_TRUE(WriteImportanceDat(Read(kGguf), copy).ok());
  EXPECT_EQ(Bytes(copy), Bytes(kLegacy));
}

TEST(ImportanceSumsTest, LegacyCountsBecomeRows) {
  ImportanceCollection legacy = Read(kLegacy);
  EXPECT_EQ(legacy.chunk_size, 0);
  EXPECT_THAT(legacy.entries.at("blk.0.attn_q.weight").counts, ElementsAre(64));
  SetChunkSize(512, &legacy);
  const ImportanceCollection gguf = Read(kGguf);
  const ImportanceSums& a = legacy.entries.at("blk.0.attn_q.weight");
  const ImportanceSums& b = gguf.entries.at("blk.0.attn_q.weight");
  EXPECT_EQ(a.counts, b.counts);
  for (size_t i = 0; i < a.sum_sq.size(); ++i) {
    EXPECT_NEAR(a.sum_sq[i], b.sum_sq[i], 2e-7 * b.sum_sq[i]);  // two roundings
  }
}

TEST(ImportanceSumsTest, LegacyFormatGivesMatricesWithoutDataOnes) {
  ImportanceCollection collection = Small({6, 8, 0, 0}, {}, {4, 0});
  collection.entries["empty"] = {1, 2, {0, 0}, {}, {0}};
  const std::string path = Temp("ones.dat");
  ASSERT_TRUE(WriteImportanceDat(collection, path).ok());
  const ImportanceCollection back = Read(path);
  ASSERT_EQ(back.entries.size(), 1u);  // llama-imatrix leaves "empty" out too
  const ImportanceSums& t = back.entries.at("t");
  EXPECT_THAT(t.counts, ElementsAre(2));  // chunks of two rows
  EXPECT_THAT(t.sum_sq, ElementsAre(3, 4, 2, 2));
}

TEST(ImportanceSumsTest, CombinedSumsAndCountsAdd) {
  ImportanceCollection a = Small({1, 2, 3, 4}, {1, 1, 1, 1}, {2, 1});
  a.datasets = {"a.txt"};
  ImportanceCollection b = Small({10, 20, 30, 40}, {2, 2, -2, 2}, {5, 0});
  b.datasets = {"b.txt", "c.txt"};
  b.entries["only b"] = {1, 1, {5}, {}, {9}};
  const auto both = CombineImportance(a, b);
  ASSERT_TRUE(both.ok()) << both.status();
  const ImportanceSums& t = both->entries.at("t");
  EXPECT_THAT(t.sum_sq, ElementsAre(11, 22, 33, 44));
  EXPECT_THAT(t.sum, ElementsAre(3, 3, -1, 3));
  EXPECT_THAT(t.counts, ElementsAre(7, 1));
  EXPECT_EQ(both->entries.count("only b"), 1u);
  EXPECT_THAT(both->datasets, ElementsAre("a.txt", "b.txt", "c.txt"));
  EXPECT_EQ(both->n_chunks, 5);  // 9 rows are nearest to 5 chunks of 2
}

TEST(ImportanceSumsTest, OneCountStandsForEveryMatrix) {
  const ImportanceCollection one = Small({1, 2, 3, 4}, {}, {6});
  const ImportanceCollection two = Small({1, 1, 1, 1}, {1, 1, 1, 1}, {2, 3});
  for (const bool swapped : {false, true}) {
    const auto both =
        swapped ? CombineImportance(two, one) : CombineImportance(one, two);
    ASSERT_TRUE(both.ok()) << both.status();
    const ImportanceSums& t = both->entries.at("t");
    EXPECT_EQ(t.n_matrices, 2);
    EXPECT_EQ(t.n_cols, 2);
    EXPECT_THAT(t.sum_sq, ElementsAre(2, 3, 4, 5));
    EXPECT_TRUE(t.sum.empty());  // one of the two does not have it
    EXPECT_THAT(t.counts, ElementsAre(8, 9));
  }
}

TEST(ImportanceSumsTest, SizesThatDifferAreRefusedAndNothingIsAdded) {
  ImportanceCollection to = Small({1, 2, 3, 4}, {}, {2, 1});
  for (const auto& from :
       {Small({1, 2, 3, 4, 5, 6}, {}, {1, 1}), Small({1, 2}, {}, {1}),
        Small({1, 2, 3, 4}, {}, {1, 1, 1, 1})}) {
    const absl::Status status = AddImportance(from, &to);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("'t' is ["));
    EXPECT_THAT(to.entries.at("t").sum_sq, ElementsAre(1, 2, 3, 4));
  }
}

TEST(ImportanceSumsTest, SumsBeyondTheFilesNumbersAreNamed) {
  const ImportanceCollection large = Small({1, 1e39}, {}, {1});
  const std::string path = Temp("large");
  for (const absl::Status& status :
       {WriteImportanceGguf(large, path), WriteImportanceDat(large, path)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("'t', value 1"));
  }
  EXPECT_FALSE(FileExists(path));
}

struct FileTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

absl::Status ReadMade(const std::vector<FileTensor>& tensors,
                      uint32_t chunk_size = 2) {
  const std::string path = Temp("made.gguf");
  Metadata metadata;
  metadata.Set("imatrix.datasets", std::vector<std::string>{});
  metadata.Set("imatrix.chunk_count", uint32_t{1});
  metadata.Set("imatrix.chunk_size", chunk_size);
  std::vector<TensorMeta> metas;
  for (const FileTensor& t : tensors) {
    metas.push_back({t.name, QuantType::kF32, t.shape});
  }
  const auto sink = NewGgufWriter(path);
  EXPECT_TRUE(sink->Begin(metas, metadata).ok());
  for (const FileTensor& t : tensors) {
    EXPECT_TRUE(sink->Append({reinterpret_cast<const uint8_t*>(t.values.data()),
                              t.values.size() * sizeof(float)})
                    .ok());
  }
  EXPECT_TRUE(sink->Finish().ok());
  return ReadImportanceSums(path).status();
}

TEST(ImportanceSumsTest, GgufFilesThatContradictThemselvesAreRefused) {
  const FileTensor squares = {"t.in_sum2", {2, 2}, {1, 2, 3, 4}};
  const FileTensor counts = {"t.counts", {2, 1}, {1, 1}};
  EXPECT_TRUE(ReadMade({squares, counts}).ok());
  const struct {
    const char* words;
    std::vector<FileTensor> tensors;
  } kCases[] = {
      {"has no 't.counts'", {squares}},
      {"has no 't.in_sum2'", {counts}},
      {"has no 't.in_sum2'", {{"t.in_sum", {1}, {1}}, counts}},
      {"which 3 counts do not divide",
       {squares, {"t.counts", {3, 1}, {1, 1, 1}}}},
      {"which is no count", {squares, {"t.counts", {2, 1}, {1, -1}}}},
      {"which is no count",
       {squares, {"t.counts", {2, 1}, {1, std::nanf("")}}}},
      {"which is no count", {squares, {"t.counts", {2, 1}, {1, 1e30f}}}},
      {"value 1, is inf", {{"t.in_sum2", {2, 1}, {1, HUGE_VALF}}, counts}},
      {"sum 0, is nan",
       {squares, counts, {"t.in_sum", {4}, {std::nanf(""), 1, 1, 1}}}},
      {"has 3 values", {squares, counts, {"t.in_sum", {3}, {1, 1, 1}}}},
  };
  for (const auto& c : kCases) {
    const absl::Status status = ReadMade(c.tensors);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.words));
  }
  EXPECT_FALSE(ReadMade({squares, counts}, 0).ok());
  EXPECT_FALSE(ReadMade({{"t.other", {1}, {1}}}).ok());  // no entry at all
}

}  // namespace
}  // namespace narrow
