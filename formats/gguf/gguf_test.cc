#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/gguf/gguf_writer.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGolden[] = "testdata/containers/tiny.gguf";

std::string TempPath(absl::string_view name) {
  return JoinPath(::testing::TempDir(), name);
}

std::unique_ptr<TensorSource> MustOpen(absl::string_view path) {
  auto source = OpenGguf(path);
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? *std::move(source) : nullptr;
}

std::string MustReadText(absl::string_view path) {
  const auto text = ReadTextFile(path, 1 << 30);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

std::vector<TensorMeta> Metas(const TensorSource& source) {
  std::vector<TensorMeta> metas;
  for (const TensorView& tensor : source.tensors()) {
    metas.push_back(tensor.meta);
  }
  return metas;
}

template <typename T>
T Value(const TensorSource& source, absl::string_view key) {
  const MetadataValue* value = source.metadata().Find(key);
  EXPECT_TRUE(value != nullptr && std::holds_alternative<T>(*value)) << key;
  return value != nullptr && std::holds_alternative<T>(*value)
             ? std::get<T>(*value)
             : T();
}

TEST(GgufTest, ReadsEveryValueTypeOfTheGolden) {
  const auto source = MustOpen(kGolden);
  EXPECT_EQ(Value<uint8_t>(*source, "one.uint8"), 255);
  EXPECT_EQ(Value<int8_t>(*source, "one.int8"), -128);
  EXPECT_EQ(Value<uint16_t>(*source, "one.uint16"), 65535);
  EXPECT_EQ(Value<int16_t>(*source, "one.int16"), -32768);
  EXPECT_EQ(Value<uint32_t>(*source, "one.uint32"), UINT32_MAX);
  EXPECT_EQ(Value<int32_t>(*source, "one.int32"), INT32_MIN);
  EXPECT_EQ(Value<float>(*source, "one.float32"), 0.1f);
  EXPECT_EQ(Value<bool>(*source, "one.bool"), true);
  EXPECT_EQ(Value<std::string>(*source, "one.string"), "caf\xc3\xa9");
  EXPECT_EQ(Value<uint64_t>(*source, "one.uint64"), UINT64_MAX);
  EXPECT_EQ(Value<int64_t>(*source, "one.int64"), INT64_MIN);
  EXPECT_EQ(Value<double>(*source, "one.float64"), 0.1);

  EXPECT_THAT(Value<std::vector<int8_t>>(*source, "two.int8"),
              ElementsAre(-128, 1));
  EXPECT_THAT(Value<std::vector<bool>>(*source, "two.bool"),
              ElementsAre(true, false));
  EXPECT_THAT(Value<std::vector<std::string>>(*source, "two.string"),
              ElementsAre("caf\xc3\xa9", ""));
  EXPECT_THAT(Value<std::vector<uint64_t>>(*source, "two.uint64"),
              ElementsAre(UINT64_MAX, 1));
  EXPECT_THAT(Value<std::vector<double>>(*source, "two.float64"),
              ElementsAre(0.1, 1.0));
  EXPECT_EQ(source->metadata().size(), 25u);
  EXPECT_EQ(source->metadata().entries()[0].first, "general.architecture");
}

TEST(GgufTest, ReadsTensorsOfTheGolden) {
  const auto source = MustOpen(kGolden);
  ASSERT_EQ(source->tensors().size(), 4u);
  const TensorView* matrix = source->Find("matrix.weight");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->meta.type, QuantType::kF32);
  EXPECT_THAT(matrix->meta.shape, ElementsAre(2, 3));
  float values[6];
  ASSERT_EQ(matrix->data.size(), sizeof(values));
  std::memcpy(values, matrix->data.data(), sizeof(values));
  EXPECT_THAT(values, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(matrix->origin.file, kGolden);

  const TensorView* blocks = source->Find("blocks.weight");
  ASSERT_NE(blocks, nullptr);
  EXPECT_EQ(blocks->meta.type, QuantType::kQ8_0);
  EXPECT_THAT(blocks->meta.shape, ElementsAre(2, 32));
  EXPECT_EQ(blocks->data.size(), 68u);

  EXPECT_THAT(source->Find("vector")->meta.shape, ElementsAre(3));
  EXPECT_THAT(source->Find("cube")->meta.shape, ElementsAre(2, 3, 4));
  EXPECT_EQ(source->Find("nothing"), nullptr);
  source->Release(matrix->data);
  EXPECT_EQ(matrix->data[4 + 3], 0x3f);  // still readable
}

TEST(GgufTest, WritesTheGoldenByteForByte) {
  const auto source = MustOpen(kGolden);
  const std::string path = TempPath("golden.gguf");
  const auto sink = NewGgufWriter(path);
  ASSERT_TRUE(sink->Begin(Metas(*source), source->metadata()).ok());
  for (const TensorView& tensor : source->tensors()) {
    // In two pieces, the first of one byte.
    ASSERT_TRUE(sink->Append(tensor.data.first(1)).ok());
    ASSERT_TRUE(sink->Append(tensor.data.subspan(1)).ok());
  }
  EXPECT_FALSE(FileExists(path));
  ASSERT_TRUE(sink->Finish().ok());
  const std::string golden = MustReadText(kGolden);
  EXPECT_TRUE(MustReadText(path) == golden);
  const auto size = GgufFileBytes(Metas(*source), source->metadata());
  EXPECT_EQ(*size, static_cast<int64_t>(golden.size()));
}

TEST(GgufTest, ReadsVersion2) {
  std::string text = MustReadText(kGolden);
  text[4] = 2;
  const std::string path = TempPath("v2.gguf");
  ASSERT_TRUE(WriteTextFile(path, text).ok());
  EXPECT_EQ(MustOpen(path)->tensors().size(), 4u);
}

// A hole of the file system stands for 20 GiB; what the header claims of it
// must not be believed.
TEST(GgufTest, HeadersOfHugeFilesAreBounded) {
  std::string text = MustReadText(kGolden);
  const std::string key = "general.architecture";
  const size_t length_at = text.find(key) + key.size() + 4;
  const uint64_t length = uint64_t{10} << 30;
  std::memcpy(&text[length_at], &length, sizeof(length));
  const std::string path = TempPath("huge.gguf");
  ASSERT_TRUE(WriteTextFile(path, text).ok());
  std::error_code error;
  std::filesystem::resize_file(path, uint64_t{20} << 30, error);
  if (error) {
    GTEST_SKIP() << "no sparse files here: " << error.message();
  }
  const auto source = OpenGguf(path);
  EXPECT_EQ(source.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(source.status().message()),
              HasSubstr("the header exceeds 256 MiB"));
  std::filesystem::remove(path);
}

// --- What a writer may be given ----------------------------------------------

TensorMeta Meta(absl::string_view name, QuantType type,
                std::vector<int64_t> shape) {
  TensorMeta meta;
  meta.name = std::string(name);
  meta.type = type;
  meta.shape = std::move(shape);
  return meta;
}

// Writes tensors whose bytes count up from 0.
absl::Status WriteCounting(TensorSink* sink,
                           const std::vector<TensorMeta>& metas,
                           const Metadata& metadata) {
  absl::Status status = sink->Begin(metas, metadata);
  uint8_t next = 0;
  for (const TensorMeta& meta : metas) {
    std::vector<uint8_t> bytes(static_cast<size_t>(meta.n_bytes()));
    for (uint8_t& byte : bytes) {
      byte = next++;
    }
    if (status.ok()) {
      status = sink->Append(bytes);
    }
  }
  return status.ok() ? sink->Finish() : status;
}

void ExpectCounting(const TensorSource& source,
                    const std::vector<TensorMeta>& metas) {
  ASSERT_EQ(source.tensors().size(), metas.size());
  uint8_t next = 0;
  for (size_t i = 0; i < metas.size(); ++i) {
    const TensorView& tensor = source.tensors()[i];
    EXPECT_EQ(tensor.meta.name, metas[i].name);
    EXPECT_EQ(tensor.meta.type, metas[i].type);
    EXPECT_EQ(tensor.meta.shape, metas[i].shape);
    for (const uint8_t byte : tensor.data) {
      ASSERT_EQ(byte, next++) << metas[i].name;
    }
  }
}

std::vector<TensorMeta> OddMetas() {
  return {Meta("scalar", QuantType::kF32, {}),
          Meta("none", QuantType::kF32, {0, 4}),
          Meta("trailing", QuantType::kF16, {3, 1, 1}),
          Meta("q4_k", QuantType::kQ4_K, {2, 512}),
          Meta("four", QuantType::kI8, {2, 1, 3, 5}),
          Meta("last", QuantType::kI64, {0})};
}

// The file that docs/gguf.md shows in full.
TEST(GgufTest, WritesTheExampleOfTheDocumentation) {
  const std::string expected = absl::HexStringToBytes(
      "47475546030000000100000000000000"
      "01000000000000001400000000000000"
      "67656e6572616c2e6172636869746563"
      "74757265080000000500000000000000"
      "6c6c616d610100000000000000610200"
      "00000200000000000000010000000000"
      "00000000000000000000000000000000"
      "00000000000000000000000000000000"
      "0000803f000000c00000000000000000"
      "00000000000000000000000000000000");
  Metadata metadata;
  metadata.Set("general.architecture", std::string("llama"));
  const std::string path = TempPath("example");
  const auto sink = NewGgufWriter(path);
  ASSERT_TRUE(sink->Begin({Meta("a", QuantType::kF32, {1, 2})}, metadata).ok());
  const uint8_t data[] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0};
  ASSERT_TRUE(sink->Append(data).ok());
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_EQ(MustReadText(path), expected);
}

TEST(GgufTest, EveryLegalAlignmentRoundTrips) {
  for (uint32_t alignment = 1; alignment <= 65536; alignment *= 2) {
    Metadata metadata;
    metadata.Set("general.alignment", alignment);
    const std::string path = TempPath("aligned.gguf");
    ASSERT_TRUE(
        WriteCounting(NewGgufWriter(path).get(), OddMetas(), metadata).ok());
    const auto source = MustOpen(path);
    ExpectCounting(*source, OddMetas());
    for (const TensorView& tensor : source->tensors()) {
      EXPECT_EQ(tensor.origin.offset % alignment, 0) << tensor.meta.name;
    }
    EXPECT_EQ(static_cast<int64_t>(MustReadText(path).size()),
              *GgufFileBytes(OddMetas(), metadata));
  }
}

TEST(GgufTest, EveryGgmlTypeRoundTrips) {
  std::vector<TensorMeta> metas;
  for (const TypeGeometry& type : AllTypes()) {
    if (type.ggml_id >= 0) {
      metas.push_back(Meta(type.name, type.type, {3, type.block_weights * 2}));
    }
  }
  const std::string path = TempPath("types.gguf");
  ASSERT_TRUE(WriteCounting(NewGgufWriter(path).get(), metas, {}).ok());
  ExpectCounting(*MustOpen(path), metas);
}

TEST(GgufTest, FilesWithoutTensorsOrKeysRoundTrip) {
  const std::string path = TempPath("bare.gguf");
  ASSERT_TRUE(WriteCounting(NewGgufWriter(path).get(), {}, {}).ok());
  EXPECT_TRUE(MustOpen(path)->tensors().empty());
  EXPECT_EQ(MustOpen(path)->metadata().size(), 0u);
}

TEST(GgufTest, RefusesWhatNoReaderWouldAccept) {
  const auto begin = [](std::vector<TensorMeta> metas, Metadata metadata) {
    const absl::Status status =
        NewGgufWriter(TempPath("refused.gguf"))->Begin(metas, metadata);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("refused.gguf"));
    EXPECT_FALSE(FileExists(TempPath("refused.gguf.partial")));
    return std::string(status.message());
  };
  const TensorMeta good = Meta("a", QuantType::kF32, {2});
  EXPECT_THAT(begin({good, good}, {}), HasSubstr("duplicate tensor 'a'"));
  EXPECT_THAT(begin({Meta("", QuantType::kF32, {2})}, {}),
              HasSubstr("name of 0 bytes"));
  EXPECT_THAT(begin({Meta(std::string(64, 'n'), QuantType::kF32, {2})}, {}),
              HasSubstr("name of 64 bytes"));
  EXPECT_THAT(begin({Meta("a", QuantType::kF32, {1, 1, 1, 1, 1})}, {}),
              HasSubstr("4 dimensions"));
  EXPECT_THAT(begin({Meta("a", QuantType::kF8E4M3, {2})}, {}),
              HasSubstr("f8_e4m3, which GGUF cannot hold"));
  EXPECT_THAT(begin({Meta("a", QuantType::kQ4_0, {33})}, {}),
              HasSubstr("blocks of 32"));
  EXPECT_THAT(begin({Meta("a", QuantType::kF32, {-1})}, {}),
              HasSubstr("negative size"));
  EXPECT_THAT(begin({Meta("a", QuantType::kI8, {int64_t{1} << 62}),
                     Meta("b", QuantType::kI8, {1})},
                    {}),
              HasSubstr("exceed 2^62"));
  for (const MetadataValue& alignment :
       {MetadataValue(uint32_t{0}), MetadataValue(uint32_t{24}),
        MetadataValue(int32_t{32})}) {
    Metadata metadata;
    metadata.Set("general.alignment", alignment);
    EXPECT_THAT(begin({good}, metadata), HasSubstr("general.alignment"));
  }
  Metadata nameless;
  nameless.Set("", true);
  EXPECT_THAT(begin({good}, nameless), HasSubstr("without a name"));
  EXPECT_TRUE(
      NewGgufWriter(TempPath("longest.gguf"))
          ->Begin({Meta(std::string(63, 'n'), QuantType::kF32, {2})}, {})
          .ok());
}

TEST(GgufTest, WrongOrderIsAFailedPrecondition) {
  const std::vector<TensorMeta> metas = {Meta("a", QuantType::kI8, {4}),
                                         Meta("b", QuantType::kI8, {4})};
  const std::vector<uint8_t> bytes(8);
  const auto code = [](const absl::Status& status) { return status.code(); };
  constexpr auto kWrong = absl::StatusCode::kFailedPrecondition;
  GgufSplitOptions by_one;
  by_one.max_tensors = 1;
  for (const bool split : {false, true}) {
    const std::string path = TempPath("order.gguf");
    const auto sink =
        split ? NewGgufSplitWriter(path, by_one) : NewGgufWriter(path);
    EXPECT_EQ(code(sink->Append(bytes)), kWrong);
    EXPECT_EQ(code(sink->Finish()), kWrong);
    ASSERT_TRUE(sink->Begin(metas, {}).ok());
    EXPECT_EQ(code(sink->Begin(metas, {})), kWrong);
    EXPECT_EQ(code(sink->Finish()), kWrong);
    // A piece may not reach into the next tensor.
    EXPECT_EQ(code(sink->Append(bytes)), kWrong);
    ASSERT_TRUE(sink->Append(absl::MakeConstSpan(bytes).first(4)).ok());
    ASSERT_TRUE(sink->Append(absl::MakeConstSpan(bytes).first(3)).ok());
    EXPECT_EQ(code(sink->Finish()), kWrong);
    ASSERT_TRUE(sink->Append(absl::MakeConstSpan(bytes).first(1)).ok());
    EXPECT_EQ(code(sink->Append(absl::MakeConstSpan(bytes).first(1))), kWrong);
    EXPECT_TRUE(sink->Finish().ok());
  }
}

TEST(GgufTest, AnUnfinishedFileLeavesNothing) {
  const std::string path = TempPath("unfinished.gguf");
  {
    const auto sink = NewGgufWriter(path);
    ASSERT_TRUE(sink->Begin({Meta("a", QuantType::kI8, {4})}, {}).ok());
    ASSERT_TRUE(FileExists(path + ".partial"));
  }
  EXPECT_FALSE(FileExists(path));
  EXPECT_FALSE(FileExists(path + ".partial"));
}

// --- Shards ------------------------------------------------------------------

Metadata ModelKeys() {
  Metadata metadata;
  metadata.Set("general.architecture", std::string("llama"));
  metadata.Set("llama.block_count", uint32_t{2});
  return metadata;
}

TEST(GgufSplitTest, AnyShardOpensTheWhole) {
  GgufSplitOptions options;
  options.max_tensors = 4;
  const std::string prefix = TempPath("whole");
  ASSERT_TRUE(WriteCounting(NewGgufSplitWriter(prefix, options).get(),
                            OddMetas(), ModelKeys())
                  .ok());
  const auto sizes = GgufSplitFileBytes(OddMetas(), ModelKeys(), options);
  ASSERT_EQ(sizes->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const std::string path = SplitGgufName(prefix, i, 2);
    EXPECT_EQ(static_cast<int64_t>(MustReadText(path).size()), (*sizes)[i]);
    const auto source = MustOpen(path);
    ExpectCounting(*source, OddMetas());
    EXPECT_EQ(source->metadata().GetInteger("split.no"), 0);
    EXPECT_EQ(Value<uint16_t>(*source, "split.count"), 2);
    EXPECT_EQ(Value<int32_t>(*source, "split.tensors.count"), 6);
    EXPECT_EQ(source->metadata().GetInteger("llama.block_count"), 2);
  }
}

TEST(GgufSplitTest, ShardsKeepAnotherAlignment) {
  GgufSplitOptions options;
  options.max_tensors = 1;
  Metadata metadata = ModelKeys();
  metadata.Set("general.alignment", uint32_t{64});
  const std::string prefix = TempPath("aligned_split");
  // One shard a tensor, the empty ones among them.
  ASSERT_TRUE(WriteCounting(NewGgufSplitWriter(prefix, options).get(),
                            OddMetas(), metadata)
                  .ok());
  const auto source = MustOpen(SplitGgufName(prefix, 5, 6));
  ExpectCounting(*source, OddMetas());
  for (const TensorView& tensor : source->tensors()) {
    EXPECT_EQ(tensor.origin.offset % 64, 0) << tensor.meta.name;
  }
}

TEST(GgufSplitTest, PlansByBytesAndByTensors) {
  // 64 bytes each when padded.
  const std::vector<TensorMeta> metas(5, Meta("t", QuantType::kI8, {40}));
  const auto counts = [&](const GgufSplitOptions& options) {
    std::vector<size_t> n;
    const auto plan = PlanGgufSplit(metas, 32, options);
    EXPECT_TRUE(plan.ok()) << plan.status();
    for (const GgufShard& shard : plan.value()) {
      n.push_back(shard.n);
    }
    return n;
  };
  GgufSplitOptions options;
  EXPECT_THAT(counts(options), ElementsAre(5));
  options.max_tensors = 2;
  EXPECT_THAT(counts(options), ElementsAre(2, 2, 1));
  options.no_tensor_first_split = true;
  EXPECT_THAT(counts(options), ElementsAre(0, 2, 2, 1));
  options = GgufSplitOptions();
  options.max_bytes = 128;
  EXPECT_THAT(counts(options), ElementsAre(2, 2, 1));
  options.max_bytes = 127;
  EXPECT_THAT(counts(options), ElementsAre(1, 1, 1, 1, 1));
  options.max_bytes = 10;  // less than any tensor
  EXPECT_THAT(counts(options), ElementsAre(1, 1, 1, 1, 1));
  options.max_tensors = 1;
  EXPECT_EQ(PlanGgufSplit(metas, 32, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(GgufSplitTest, KeysOnlyFirstShardOpens) {
  GgufSplitOptions options;
  options.max_tensors = 100;
  options.no_tensor_first_split = true;
  const std::string prefix = TempPath("keys_first.gguf");  // ending dropped
  ASSERT_TRUE(WriteCounting(NewGgufSplitWriter(prefix, options).get(),
                            OddMetas(), ModelKeys())
                  .ok());
  const auto source = MustOpen(TempPath("keys_first-00001-of-00002.gguf"));
  ExpectCounting(*source, OddMetas());
}

TEST(GgufSplitTest, NamesAndSizesAreParsed) {
  const auto name = ParseSplitGgufName("/a/b-c-00002-of-00010.gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->prefix, "/a/b-c");
  EXPECT_EQ(name->index, 1);
  EXPECT_EQ(name->n_shards, 10);
  for (const char* bad :
       {"m.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf",
        "m-1-of-2.gguf", "m-00001-of-00002", "-of-00002.gguf",
        "m-0000a-of-00002.gguf", "m00001-of-00002.gguf"}) {
    EXPECT_FALSE(ParseSplitGgufName(bad).has_value()) << bad;
  }
  EXPECT_EQ(*ParseSplitSize("300M"), 300000000);
  EXPECT_EQ(*ParseSplitSize("2G"), 2000000000);
  for (const char* bad :
       {"", "M", "2", "-1G", "0M", "1.5G", "2T", "99999999999999999G"}) {
    EXPECT_EQ(ParseSplitSize(bad).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(GgufSplitTest, UnfinishedShardsLeaveNothing) {
  GgufSplitOptions options;
  options.max_tensors = 1;
  const std::string prefix = TempPath("unfinished_split");
  {
    const auto sink = NewGgufSplitWriter(prefix, options);
    ASSERT_TRUE(sink->Begin(OddMetas(), {}).ok());
    const std::vector<uint8_t> scalar(4);
    ASSERT_TRUE(sink->Append(scalar).ok());
  }
  for (size_t i = 0; i < OddMetas().size(); ++i) {
    const std::string path = SplitGgufName(prefix, i, OddMetas().size());
    EXPECT_FALSE(FileExists(path));
    EXPECT_FALSE(FileExists(path + ".partial"));
  }
}

TEST(GgufSplitTest, OneNameThatCannotBeTakenTakesAllNames) {
  const std::vector<TensorMeta> metas = {Meta("a", QuantType::kI8, {4}),
                                         Meta("b", QuantType::kI8, {4}),
                                         Meta("c", QuantType::kI8, {4})};
  GgufSplitOptions options;
  options.max_tensors = 1;
  const std::string prefix = TempPath("all_or_none");
  const auto sink = NewGgufSplitWriter(prefix, options);
  ASSERT_TRUE(sink->Begin(metas, {}).ok());
  const std::vector<uint8_t> bytes(4);
  for (size_t i = 0; i < metas.size(); ++i) {
    ASSERT_TRUE(sink->Append(bytes).ok());
  }
  // A folder takes the name of the second shard; the third is renamed first.
  std::filesystem::create_directories(SplitGgufName(prefix, 1, 3) + "/folder");
  EXPECT_FALSE(sink->Finish().ok());
  EXPECT_FALSE(FileExists(SplitGgufName(prefix, 0, 3)));
  EXPECT_FALSE(FileExists(SplitGgufName(prefix, 2, 3)));
}

TEST(GgufSplitTest, ShardsMayBeGiven) {
  const std::vector<TensorMeta> metas(3, Meta("t", QuantType::kI8, {40}));
  GgufSplitOptions options;
  options.shard_tensors = {0, 2, 0, 1};
  const auto plan = PlanGgufSplit(metas, 32, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->size(), 4u);
  EXPECT_EQ((*plan)[3].first, 2u);
  for (const std::vector<int64_t>& bad :
       {std::vector<int64_t>{1, 1}, {2, 2}, {4}, {-1, 4}}) {
    options.shard_tensors = bad;
    EXPECT_EQ(PlanGgufSplit(metas, 32, options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(GgufSplitTest, KeysHaveTheOrderOfTheProgramThatSplits) {
  const auto names = [](size_t n_shards, GgufSplitStyle style) {
    std::vector<std::string> names;
    const Metadata metadata = GgufShardMetadata({}, 0, n_shards, 7, style);
    for (const Metadata::Entry& entry : metadata.entries()) {
      names.push_back(entry.first);
    }
    return names;
  };
  EXPECT_THAT(names(2, GgufSplitStyle::kGgufSplit),
              ElementsAre("split.no", "split.tensors.count", "split.count"));
  EXPECT_THAT(names(2, GgufSplitStyle::kQuantize),
              ElementsAre("split.no", "split.count", "split.tensors.count"));
  EXPECT_THAT(names(1, GgufSplitStyle::kGgufSplit).size(), 3u);
  EXPECT_THAT(names(1, GgufSplitStyle::kQuantize), ElementsAre());
}

}  // namespace
}  // namespace narrow
