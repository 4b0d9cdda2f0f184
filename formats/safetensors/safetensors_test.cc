#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/safetensors/safetensors_format.h"
#include "formats/safetensors/safetensors_index.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/safetensors/safetensors_writer.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kGolden[] = "testdata/containers/tiny.safetensors";

std::string TempPath(absl::string_view name) {
  return JoinPath(::testing::TempDir(), name);
}

// An empty folder of that name.
std::string TempFolder(absl::string_view name) {
  const std::string path = TempPath(name);
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

std::unique_ptr<TensorSource> MustOpen(absl::string_view path) {
  auto source =
      IsDirectory(path) ? OpenSafetensorsFolder(path) : OpenSafetensors(path);
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

std::vector<std::string> Names(const TensorSource& source) {
  std::vector<std::string> names;
  for (const TensorView& tensor : source.tensors()) {
    names.push_back(tensor.meta.name);
  }
  return names;
}

TensorMeta Meta(absl::string_view name, QuantType type,
                std::vector<int64_t> shape) {
  TensorMeta meta;
  meta.name = std::string(name);
  meta.type = type;
  meta.shape = std::move(shape);
  return meta;
}

Metadata Pt() {
  Metadata metadata;
  metadata.Set("format", std::string("pt"));
  return metadata;
}

// Writes tensors whose bytes count up from 0.
absl::Status WriteCounting(TensorSink* sink,
                           const std::vector<TensorMeta>& metas) {
  absl::Status status = sink->Begin(metas, Pt());
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

// A file with this JSON and `n_data` bytes after it.
std::string WriteRaw(absl::string_view name, absl::string_view json,
                     size_t n_data) {
  const uint64_t length = json.size();
  const std::string path = TempPath(name);
  EXPECT_TRUE(WriteTextFile(
                  path, absl::StrCat(absl::string_view(
                                         reinterpret_cast<const char*>(&length),
                                         sizeof(length)),
                                     json, std::string(n_data, 'x')))
                  .ok());
  return path;
}

TEST(SafetensorsTest, ReadsTheGolden) {
  const auto source = MustOpen(kGolden);
  EXPECT_EQ(source->format(), "safetensors");
  EXPECT_EQ(source->metadata().GetString("format"), "pt");
  ASSERT_EQ(source->tensors().size(), 8u);

  const TensorView* embed = source->Find("model.embed.weight");
  ASSERT_NE(embed, nullptr);
  EXPECT_EQ(embed->meta.type, QuantType::kBF16);
  EXPECT_THAT(embed->meta.shape, ElementsAre(2, 3));
  uint16_t values[6];
  ASSERT_EQ(embed->data.size(), sizeof(values));
  std::memcpy(values, embed->data.data(), sizeof(values));
  EXPECT_THAT(values, ElementsAre(0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0));

  EXPECT_THAT(source->Find("scalar")->meta.shape, IsEmpty());
  EXPECT_EQ(source->Find("scalar")->data[0], 7);
  EXPECT_EQ(source->Find("empty")->data.size(), 0u);
  EXPECT_EQ(source->Find("flags")->meta.type, QuantType::kBool);
  EXPECT_EQ(source->Find("eight")->meta.type, QuantType::kF8E4M3);
  EXPECT_NE(source->Find("caf\xc3\xa9"), nullptr);
  EXPECT_EQ(source->Find("nothing"), nullptr);
}

TEST(SafetensorsTest, WritesTheGoldenByteForByte) {
  const auto source = MustOpen(kGolden);
  const std::string path = TempPath("golden.safetensors");
  const auto sink = NewSafetensorsWriter(path);
  ASSERT_TRUE(sink->Begin(Metas(*source), source->metadata()).ok());
  for (const TensorView& tensor : source->tensors()) {
    ASSERT_TRUE(sink->Append(tensor.data).ok());
  }
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_TRUE(MustReadText(path) == MustReadText(kGolden));
  EXPECT_EQ(*SafetensorsFileBytes(Metas(*source), source->metadata()),
            static_cast<int64_t>(MustReadText(kGolden).size()));
}

// The file that docs/safetensors.md shows in full.
TEST(SafetensorsTest, WritesTheExampleOfTheDocumentation) {
  const std::string expected = absl::HexStringToBytes(
      "58000000000000007b225f5f6d657461"
      "646174615f5f223a7b22666f726d6174"
      "223a227074227d2c2261223a7b226474"
      "797065223a22463332222c2273686170"
      "65223a5b312c325d2c22646174615f6f"
      "666673657473223a5b302c385d7d7d20"
      "0000803f000000c0");
  Metadata metadata;
  metadata.Set("format", std::string("pt"));
  const std::string path = TempPath("example");
  const auto sink = NewSafetensorsWriter(path);
  ASSERT_TRUE(sink->Begin({Meta("a", QuantType::kF32, {1, 2})}, metadata).ok());
  const uint8_t data[] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0};
  ASSERT_TRUE(sink->Append(data).ok());
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_EQ(MustReadText(path), expected);
}

TEST(SafetensorsTest, EveryDtypeRoundTrips) {
  std::vector<TensorMeta> metas = {Meta("odd", QuantType::kU8, {3})};
  for (const TypeGeometry& type : AllTypes()) {
    if (type.safetensors_dtype[0] != '\0') {
      // Rows of types below a byte need not end on one.
      metas.push_back(Meta(type.name, type.type, {4, 3, 1}));
    }
  }
  EXPECT_EQ(metas.size(), 1u + 22);
  const std::string path = TempPath("dtypes.safetensors");
  ASSERT_TRUE(WriteCounting(NewSafetensorsWriter(path).get(), metas).ok());
  const auto source = MustOpen(path);
  ExpectCounting(*source, metas);
  EXPECT_EQ(source->Find("f4")->data.size(), 6u);
  EXPECT_EQ(source->Find("f6_e2m3")->data.size(), 9u);
  EXPECT_EQ(source->Find("c64")->data.size(), 96u);
}

TEST(SafetensorsTest, TensorsComeInTheOrderOfTheirData) {
  const std::string path = WriteRaw(
      "order.safetensors",
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[2,6]},)"
      R"("c":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":[1]}})",
      6);
  // Header order b, a, c; and a's data are not aligned.
  EXPECT_THAT(Names(*MustOpen(path)), ElementsAre("c", "b", "a"));
}

TEST(SafetensorsTest, AcceptsWhatTheReferenceReaderAccepts) {
  EXPECT_TRUE(
      MustOpen(WriteRaw("none.safetensors", "{}  \n", 0))->tensors().empty());
  EXPECT_EQ(
      MustOpen(WriteRaw("null.safetensors", R"({"__metadata__":null})", 0))
          ->metadata()
          .size(),
      0u);
}

TEST(SafetensorsTest, RefusesWhatTheFormatLacks) {
  const auto begin = [](std::vector<TensorMeta> metas, Metadata metadata) {
    const std::string path = TempPath("refused.safetensors");
    const absl::Status status =
        NewSafetensorsWriter(path)->Begin(metas, metadata);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_FALSE(FileExists(path + ".partial"));
    return std::string(status.message());
  };
  const TensorMeta good = Meta("a", QuantType::kF32, {2});
  EXPECT_THAT(begin({good, good}, {}), HasSubstr("duplicate tensor 'a'"));
  EXPECT_THAT(begin({Meta("__metadata__", QuantType::kF32, {2})}, {}),
              HasSubstr("name kept for metadata"));
  EXPECT_THAT(begin({Meta("a", QuantType::kQ4_K, {256})}, {}),
              HasSubstr("q4_k, which safetensors cannot hold"));
  EXPECT_THAT(begin({Meta("a", QuantType::kF4, {3})}, {}),
              HasSubstr("blocks of 2"));
  Metadata number;
  number.Set("n", uint32_t{1});
  EXPECT_THAT(begin({good}, number), HasSubstr("'n' is not a string"));
}

TEST(SafetensorsTest, WrongOrderIsAFailedPrecondition) {
  const std::vector<TensorMeta> metas = {Meta("a", QuantType::kI8, {4}),
                                         Meta("none", QuantType::kI8, {0}),
                                         Meta("b", QuantType::kI8, {4})};
  const std::vector<uint8_t> bytes(8);
  const auto code = [](const absl::Status& status) { return status.code(); };
  constexpr auto kWrong = absl::StatusCode::kFailedPrecondition;
  for (const bool in_folder : {false, true}) {
    const auto sink = in_folder
                          ? NewSafetensorsFolderWriter(TempFolder("order"), 4)
                          : NewSafetensorsWriter(TempPath("order.safetensors"));
    EXPECT_EQ(code(sink->Append(bytes)), kWrong);
    EXPECT_EQ(code(sink->Finish()), kWrong);
    ASSERT_TRUE(sink->Begin(metas, Pt()).ok());
    EXPECT_EQ(code(sink->Begin(metas, Pt())), kWrong);
    EXPECT_EQ(code(sink->Append(bytes)), kWrong);
    ASSERT_TRUE(sink->Append(absl::MakeConstSpan(bytes).first(4)).ok());
    EXPECT_EQ(code(sink->Finish()), kWrong);
    ASSERT_TRUE(sink->Append(absl::MakeConstSpan(bytes).first(4)).ok());
    EXPECT_EQ(code(sink->Append(absl::MakeConstSpan(bytes).first(1))), kWrong);
    EXPECT_TRUE(sink->Finish().ok());
  }
}

// --- Folders -----------------------------------------------------------------

std::vector<TensorMeta> ThreeMetas() {
  return {Meta("z", QuantType::kF32, {4}), Meta("a", QuantType::kF32, {4}),
          Meta("m", QuantType::kF32, {100})};
}

TEST(SafetensorsFolderTest, OneFileHasNoIndex) {
  const std::string folder = TempFolder("single");
  ASSERT_TRUE(WriteCounting(NewSafetensorsFolderWriter(folder, 1 << 20).get(),
                            ThreeMetas())
                  .ok());
  EXPECT_TRUE(FileExists(JoinPath(folder, kSafetensorsFileName)));
  EXPECT_FALSE(FileExists(JoinPath(folder, kSafetensorsIndexName)));
  EXPECT_TRUE(HasSafetensors(folder));
  ExpectCounting(*MustOpen(folder), ThreeMetas());
}

TEST(SafetensorsFolderTest, ShardsAndIndexRoundTrip) {
  const std::string folder = TempFolder("sharded");
  ASSERT_TRUE(
      WriteCounting(NewSafetensorsFolderWriter(folder, 32).get(), ThreeMetas())
          .ok());
  const auto index =
      ReadSafetensorsIndex(JoinPath(folder, kSafetensorsIndexName));
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->total_size, 432);
  ASSERT_EQ(index->weight_map.size(), 3u);
  EXPECT_EQ(index->weight_map[1].second, "model-00001-of-00002.safetensors");
  EXPECT_EQ(index->weight_map[2].second, "model-00002-of-00002.safetensors");
  const auto source = MustOpen(folder);
  ExpectCounting(*source, ThreeMetas());
  EXPECT_EQ(source->metadata().GetString("format"), "pt");
}

TEST(SafetensorsFolderTest, ShardsWithoutIndexOpen) {
  const std::string folder = TempFolder("no_index");
  ASSERT_TRUE(
      WriteCounting(NewSafetensorsFolderWriter(folder, 32).get(), ThreeMetas())
          .ok());
  std::filesystem::remove(JoinPath(folder, kSafetensorsIndexName));
  EXPECT_TRUE(HasSafetensors(folder));
  ExpectCounting(*MustOpen(folder), ThreeMetas());
}

TEST(SafetensorsFolderTest, TensorsNotInTheIndexAreGivenToo) {
  const std::string folder = TempFolder("extra");
  ASSERT_TRUE(
      WriteCounting(NewSafetensorsFolderWriter(folder, 32).get(), ThreeMetas())
          .ok());
  ASSERT_TRUE(WriteTextFile(JoinPath(folder, kSafetensorsIndexName),
                            R"({"weight_map":{)"
                            R"("m":"model-00002-of-00002.safetensors",)"
                            R"("z":"model-00001-of-00002.safetensors"}})")
                  .ok());
  EXPECT_THAT(Names(*MustOpen(folder)), ElementsAre("z", "a", "m"));
  // A file that the index does not name is not opened.
  ASSERT_TRUE(WriteTextFile(JoinPath(folder, kSafetensorsIndexName),
                            R"({"weight_map":{)"
                            R"("m":"model-00002-of-00002.safetensors"}})")
                  .ok());
  EXPECT_THAT(Names(*MustOpen(folder)), ElementsAre("m"));
}

TEST(SafetensorsFolderTest, UnfinishedFoldersLeaveNothing) {
  const std::string folder = TempFolder("unfinished");
  {
    const auto sink = NewSafetensorsFolderWriter(folder, 32);
    ASSERT_TRUE(sink->Begin(ThreeMetas(), Pt()).ok());
    const std::vector<uint8_t> piece(16);
    ASSERT_TRUE(sink->Append(piece).ok());
    ASSERT_TRUE(sink->Append(piece).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

}  // namespace
}  // namespace narrow
