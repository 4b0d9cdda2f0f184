#include "formats/arch/checkpoint.h"

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/safetensors/safetensors_writer.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::string NewFolder(const std::string& name) {
  const std::string folder = JoinPath(testing::TempDir(), name);
  mkdir(folder.c_str(), 0777);
  return folder;
}

// A folder with this config.json and one small tensor.
std::string FolderWith(const std::string& name, const std::string& config) {
  const std::string folder = NewFolder(name);
  EXPECT_TRUE(WriteTextFile(JoinPath(folder, "config.json"), config).ok());
  const auto sink = NewSafetensorsWriter(JoinPath(folder, "model.safetensors"));
  EXPECT_TRUE(
      sink->Begin({{"model.norm.weight", QuantType::kF32, {4}}}, {}).ok());
  EXPECT_TRUE(sink->Append(std::vector<uint8_t>(16)).ok());
  EXPECT_TRUE(sink->Finish().ok());
  return folder;
}

struct Refusal {
  const char* config;
  absl::StatusCode code;
  std::vector<std::string> words;
};

TEST(Checkpoint, RefusalsSayWhatAndWhere) {
  const Refusal kRefusals[] = {
      {R"({"architectures": ["FalconForCausalLM"], "model_type": "falcon"})",
       absl::StatusCode::kUnimplemented,
       {"FalconForCausalLM", "Gemma3ForCausalLM", "LlamaForCausalLM",
        "config.json"}},
      {R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
           "quantization_config": {"quant_method": "gptq", "bits": 4}})",
       absl::StatusCode::kUnimplemented,
       {"'gptq'", "--decode-quantized", "config.json"}},
      {R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
           "quantization_config": {}})",
       absl::StatusCode::kUnimplemented,
       {"unnamed"}},
      {R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
           "hidden_size": 4, "num_attention_heads": 2})",
       absl::StatusCode::kDataLoss,
       {"is missing", "model.safetensors"}},
      {R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
           "hidden_size": 8, "num_attention_heads": 2})",
       absl::StatusCode::kDataLoss,
       {"'model.norm.weight' is [4]", "config says [8]", "offset"}},
      {"not json", absl::StatusCode::kDataLoss, {"config.json"}},
  };
  int i = 0;
  for (const Refusal& refusal : kRefusals) {
    SCOPED_TRACE(refusal.config);
    const auto model = Checkpoint::Open(
        FolderWith(absl::StrCat("refused_", i++), refusal.config), {});
    EXPECT_EQ(model.status().code(), refusal.code);
    for (const std::string& word : refusal.words) {
      EXPECT_TRUE(absl::StrContains(model.status().message(), word))
          << model.status();
    }
  }
}

TEST(Checkpoint, RerankersAreRefused) {
  const std::string config = R"({"architectures": ["Qwen3ForCausalLM"],
      "model_type": "qwen3"})";
  const auto by_name =
      Checkpoint::Open(FolderWith("Qwen3-Reranker-0.6B", config), {});
  EXPECT_EQ(by_name.status().code(), absl::StatusCode::kUnimplemented);
  const std::string folder = FolderWith("renamed", config);
  ASSERT_TRUE(
      WriteTextFile(JoinPath(folder, "README.md"), "# Qwen3-Reranker-0.6B\n")
          .ok());
  EXPECT_TRUE(absl::StrContains(Checkpoint::Open(folder, {}).status().message(),
                                "reranker"));
}

TEST(Checkpoint, WeightsWithoutConfigAreRefused) {
  const std::string folder = FolderWith("weights", "{}");
  const auto model =
      Checkpoint::Open(JoinPath(folder, "model.safetensors"), {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(model.status().message(), "config.json"));
  EXPECT_FALSE(Checkpoint::Open(NewFolder("empty"), {}).ok());
  EXPECT_FALSE(Checkpoint::Open("/no/such/path", {}).ok());
}

std::string WriteGguf(const std::string& name, const Metadata& metadata) {
  const std::string path = JoinPath(testing::TempDir(), name);
  const auto sink = NewGgufWriter(path);
  EXPECT_TRUE(
      sink->Begin({{"blk.3.w", QuantType::kQ8_0, {2, 32}}}, metadata).ok());
  std::vector<uint8_t> bytes(68);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(i);
  }
  EXPECT_TRUE(sink->Append(bytes).ok());
  EXPECT_TRUE(sink->Finish().ok());
  return path;
}

TEST(Checkpoint, GgufOfAnUnknownFamilyOpens) {
  Metadata metadata;
  metadata.Set("general.architecture", std::string("mystery"));
  const auto model = Checkpoint::Open(WriteGguf("mystery.gguf", metadata), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->arch(), nullptr);
  EXPECT_EQ((*model)->config().arch, "mystery");
  const CheckpointTensor* tensor = (*model)->Find("blk.3.w");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->layer, 3);
  EXPECT_EQ(tensor->stored, QuantType::kQ8_0);
  const absl::Span<const uint8_t> row = (*model)->RowBytes(*tensor, 1);
  EXPECT_EQ(row.size(), 34u);
  EXPECT_EQ(row[0], 34);
}

TEST(Checkpoint, GgufWithoutArchitectureIsRefused) {
  const auto model = Checkpoint::Open(WriteGguf("none.gguf", {}), {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(
      absl::StrContains(model.status().message(), "general.architecture"));
}

TEST(ArchSpec, EveryFamilyIsFoundByItsNames) {
  for (const ArchSpec* spec : AllArchs()) {
    EXPECT_EQ(FindArchByGgufName(spec->gguf_arch), spec);
    for (const char* name : spec->hf_names) {
      EXPECT_EQ(FindArchByHfName(name), spec);
      EXPECT_TRUE(absl::StrContains(KnownArchNames(), name));
    }
  }
  EXPECT_EQ(FindArchByHfName("llama"), nullptr);
  EXPECT_EQ(FindArchByGgufName(""), nullptr);
}

}  // namespace
}  // namespace narrow
