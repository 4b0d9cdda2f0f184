#include "formats/digest/model_digest.h"

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/base/file.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/safetensors/safetensors_writer.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

std::string NewFolder(const std::string& name) {
  const std::string folder = JoinPath(::testing::TempDir(), name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

void WriteTensors(TensorSink* sink, const std::vector<TensorMeta>& metas,
                  const Metadata& metadata, uint8_t first) {
  ASSERT_TRUE(sink->Begin(metas, metadata).ok());
  for (const TensorMeta& meta : metas) {
    std::vector<uint8_t> bytes(static_cast<size_t>(meta.n_bytes()), first++);
    ASSERT_TRUE(sink->Append(bytes).ok());
  }
  ASSERT_TRUE(sink->Finish().ok());
}

const std::vector<TensorMeta>& Metas() {
  static const auto* const metas =
      new std::vector<TensorMeta>{{"b.weight", QuantType::kF32, {4, 8}},
                                  {"a.weight", QuantType::kF32, {2, 8}}};
  return *metas;
}

Sha256Digest DigestOf(const std::string& path, int n_threads = 1) {
  const auto digest = DigestModel(path, n_threads);
  EXPECT_TRUE(digest.ok()) << digest.status();
  return digest.ok() ? digest->sha256 : Sha256Digest{};
}

TEST(ModelDigestTest, ShardsOfGgufHaveTheHashOfTheWhole) {
  const std::string folder = NewFolder("digest_gguf");
  Metadata keys;
  keys.Set("general.architecture", std::string("llama"));
  const std::string whole = JoinPath(folder, "whole.gguf");
  WriteTensors(NewGgufWriter(whole).get(), Metas(), keys, 1);
  GgufSplitOptions split;
  split.max_tensors = 1;
  WriteTensors(NewGgufSplitWriter(JoinPath(folder, "part"), split).get(),
               Metas(), keys, 1);
  const Sha256Digest digest = DigestOf(whole);
  EXPECT_EQ(digest, DigestOf(whole, 3));
  EXPECT_EQ(digest, DigestOf(JoinPath(folder, "part-00001-of-00002.gguf")));
  keys.Set("general.name", std::string("another"));
  const std::string renamed = JoinPath(folder, "renamed.gguf");
  WriteTensors(NewGgufWriter(renamed).get(), Metas(), keys, 1);
  EXPECT_NE(digest, DigestOf(renamed));
  const auto details = DigestModel(whole, 1);
  ASSERT_TRUE(details.ok());
  ASSERT_EQ(details->tensors.size(), 2u);
  EXPECT_EQ(details->tensors[0].meta.name, "a.weight");
  EXPECT_EQ(details->tensors[0].sha256, Sha256::Of(std::string(64, '\2')));
}

TEST(ModelDigestTest, SharesMakeTheWhole) {
  const std::string path = JoinPath(NewFolder("digest_share"), "m.gguf");
  WriteTensors(NewGgufWriter(path).get(), Metas(), {}, 1);
  for (const int64_t count : {1, 2, 3, 7}) {
    ModelDigest together;
    Sha256Digest identity;
    for (int64_t i = 0; i < count; ++i) {
      const auto share = DigestModelShare(path, i, count, 1, nullptr);
      ASSERT_TRUE(share.ok()) << share.status();
      EXPECT_TRUE(i == 0 || share->identity == identity);
      identity = share->identity;
      together.files = share->files;
      together.tensors.insert(together.tensors.end(), share->tensors.begin(),
                              share->tensors.end());
    }
    CombineDigests(&together);
    EXPECT_EQ(together.tensors.size(), Metas().size());
    EXPECT_EQ(together.sha256, DigestOf(path));
  }
  const std::string other = JoinPath(NewFolder("digest_share2"), "m.gguf");
  WriteTensors(NewGgufWriter(other).get(), Metas(), {}, 2);
  EXPECT_NE(DigestModelShare(path, 0, 2, 1, nullptr)->identity,
            DigestModelShare(other, 0, 2, 1, nullptr)->identity);
  const std::atomic<bool> stop{true};
  EXPECT_TRUE(
      absl::IsCancelled(DigestModelShare(path, 0, 1, 1, &stop).status()));
}

TEST(ModelDigestTest, OfFoldersCountsSettingsNotPlaces) {
  const auto make = [](const std::string& name, uint8_t first) {
    const std::string folder = NewFolder(name);
    WriteTensors(
        NewSafetensorsWriter(JoinPath(folder, "model.safetensors")).get(),
        Metas(), {}, first);
    EXPECT_TRUE(WriteTextFile(JoinPath(folder, "config.json"), "{}").ok());
    return folder;
  };
  const std::string one = make("digest_one", 1);
  const std::string two = make("digest_two", 1);
  EXPECT_EQ(DigestOf(one), DigestOf(two));
  EXPECT_NE(DigestOf(one), DigestOf(make("digest_three", 5)));
  // A report that somebody left there is no part of the model.
  ASSERT_TRUE(WriteTextFile(JoinPath(two, "report.json"), "{}").ok());
  EXPECT_EQ(DigestOf(one), DigestOf(two));
  ASSERT_TRUE(WriteTextFile(JoinPath(two, "tokenizer.json"), "{}").ok());
  EXPECT_NE(DigestOf(one), DigestOf(two));
}

}  // namespace
}  // namespace narrow
