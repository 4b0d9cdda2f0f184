// Checkpoints against what llama.cpp's converter made of the same folders:
// metadata key by key, tensors byte by byte.

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/base/float16.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/json/json.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<JsonValue> Elements(const JsonValue& list) {
  return list.GetElements().value();
}

uint32_t Crc32(uint32_t crc, const void* data, size_t n) {
  return static_cast<uint32_t>(
      crc32(crc, static_cast<const Bytef*>(data), static_cast<uInt>(n)));
}

float Decode(QuantType type, const uint8_t* row, int64_t i) {
  if (type == QuantType::kF32) {
    float value;
    std::memcpy(&value, row + 4 * i, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, row + 2 * i, sizeof(bits));
  return type == QuantType::kF16 ? FloatFromF16(bits) : FloatFromBf16(bits);
}

// CRC of the tensor as a GGUF file would hold it.
uint32_t TensorCrc(const Checkpoint& model, const CheckpointTensor& tensor) {
  uint32_t crc = 0;
  for (int64_t r = 0; r < tensor.meta.n_rows(); ++r) {
    const absl::Span<const uint8_t> row = model.RowBytes(tensor, r);
    for (int64_t i = 0; i < tensor.meta.n_cols(); ++i) {
      const float value = Decode(tensor.stored, row.data(), i) + tensor.offset;
      if (tensor.meta.type == QuantType::kF32) {
        crc = Crc32(crc, &value, sizeof(value));
      } else {
        const uint16_t bits = tensor.meta.type == QuantType::kF16
                                  ? F16FromFloat(value)
                                  : Bf16FromFloat(value);
        crc = Crc32(crc, &bits, sizeof(bits));
      }
    }
  }
  return crc;
}

struct ValueText {
  std::string operator()(const std::string& v) const {
    return absl::StrCat("string ", v);
  }
  std::string operator()(uint32_t v) const {
    return absl::StrCat("uint32 ", v);
  }
  std::string operator()(int32_t v) const { return absl::StrCat("int32 ", v); }
  std::string operator()(float v) const { return absl::StrCat("float32 ", v); }
  std::string operator()(const std::vector<std::string>& v) const {
    return absl::StrCat("string[] ", absl::StrJoin(v, "|"));
  }
  template <typename T>
  std::string operator()(const T&) const {
    return "a type no golden has";
  }
};

std::string GoldenText(const std::string& kind, const JsonValue& value) {
  if (kind == "string[]") {
    std::vector<std::string> texts;
    for (const JsonValue& text : Elements(value)) {
      texts.emplace_back(*text.GetString());
    }
    return ValueText()(texts);
  }
  if (kind == "float32") {
    return ValueText()(static_cast<float>(*value.GetNumber()));
  }
  if (kind == "string") {
    return absl::StrCat("string ", *value.GetString());
  }
  return absl::StrCat(kind, " ", *value.GetInteger());
}

// What GGUF does not hold, readers take from the family: scales of Gemma's
// queries, windows of Mistral, Mixtral and Qwen.
void ExpectSameModel(const ModelConfig& gguf, const ModelConfig& folder) {
  EXPECT_EQ(gguf.arch, folder.arch);
  EXPECT_EQ(gguf.n_layers, folder.n_layers);
  EXPECT_EQ(gguf.hidden_size, folder.hidden_size);
  EXPECT_EQ(gguf.ffn_size, folder.ffn_size);
  EXPECT_EQ(gguf.n_heads, folder.n_heads);
  EXPECT_EQ(gguf.n_kv_heads, folder.n_kv_heads);
  EXPECT_EQ(gguf.head_dim, folder.head_dim);
  EXPECT_EQ(gguf.vocab_size, folder.vocab_size);
  EXPECT_EQ(gguf.context_length, folder.context_length);
  EXPECT_EQ(gguf.norm_eps, folder.norm_eps);
  EXPECT_EQ(gguf.rope_dim, folder.rope_dim);
  EXPECT_EQ(gguf.n_experts, folder.n_experts);
  EXPECT_EQ(gguf.n_experts_used, folder.n_experts_used);
  EXPECT_EQ(gguf.expert_ffn_size, folder.expert_ffn_size);
  EXPECT_EQ(gguf.norm_topk_prob, folder.norm_topk_prob);
  EXPECT_EQ(gguf.tied_embeddings, folder.tied_embeddings);
  EXPECT_EQ(gguf.embedding_scale, folder.embedding_scale);
  EXPECT_EQ(gguf.attn_logit_softcap, folder.attn_logit_softcap);
  EXPECT_EQ(gguf.final_logit_softcap, folder.final_logit_softcap);
  // The converter stores nothing of "dynamic".
  using Kind = RopeScaling::Kind;
  EXPECT_EQ(gguf.rope_scaling.kind, folder.rope_scaling.kind == Kind::kDynamic
                                        ? Kind::kNone
                                        : folder.rope_scaling.kind);
  EXPECT_EQ(gguf.rope_scaling.freq_factors, folder.rope_scaling.freq_factors);
  EXPECT_EQ(gguf.rope_scaling.long_factors, folder.rope_scaling.long_factors);
  EXPECT_EQ(gguf.rope_scaling.short_factors, folder.rope_scaling.short_factors);
  if (gguf.arch != "gemma2" && gguf.arch != "gemma3") {
    EXPECT_EQ(gguf.attention_scale, folder.attention_scale);
  }
  EXPECT_EQ(gguf.rope_theta, static_cast<float>(folder.rope_theta));
  ASSERT_EQ(gguf.rope_theta_local.has_value(),
            folder.rope_theta_local.has_value());
  if (folder.rope_theta_local) {
    EXPECT_EQ(*gguf.rope_theta_local,
              static_cast<float>(*folder.rope_theta_local));
  }
}

std::vector<std::string> MetadataTexts(const Metadata& metadata) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : metadata.entries()) {
    texts.push_back(absl::StrCat(key, " ", std::visit(ValueText(), value)));
  }
  return texts;
}

std::vector<std::string> TensorTexts(const Checkpoint& model) {
  std::vector<std::string> texts;
  for (const CheckpointTensor& tensor : model.tensors()) {
    texts.push_back(absl::StrCat(
        tensor.meta.name, " ", TypeName(tensor.meta.type), " ",
        ShapeString(tensor.meta.shape), " ", TensorCrc(model, tensor)));
  }
  return texts;
}

class CheckpointGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto document = JsonDocument::ReadFile(
        absl::StrCat("testdata/configs/", GetParam(), ".json"));
    ASSERT_TRUE(document.ok()) << document.status();
    document_ = *std::move(document);
    cases_ = Elements(*document_->root().Get("cases"));
    ASSERT_FALSE(cases_.empty());
  }

  // A folder with the case's files beside the family's weights.
  std::string MakeFolder(size_t i) {
    char here[4096];
    EXPECT_NE(getcwd(here, sizeof(here)), nullptr);
    const JsonValue& c = cases_[i];
    std::string folder =
        absl::StrCat(testing::TempDir(), "/", GetParam(), "_", i);
    mkdir(folder.c_str(), 0777);
    folder = JoinPath(folder, *c.Get("folder")->GetString());
    mkdir(folder.c_str(), 0777);
    for (const char* file :
         {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
      const std::string target =
          absl::StrCat(here, "/testdata/arch/", GetParam(), "/", file);
      const std::string link = JoinPath(folder, file);
      unlink(link.c_str());
      EXPECT_EQ(symlink(target.c_str(), link.c_str()), 0);
    }
    const std::vector<JsonValue::Member> files = *c.Get("files")->GetMembers();
    for (const auto& [file, text] : files) {
      EXPECT_TRUE(
          WriteTextFile(JoinPath(folder, file), *text.GetString()).ok());
    }
    return folder;
  }

  std::unique_ptr<Checkpoint> OpenCase(size_t i) {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    options.intermediate = std::string(*cases_[i].Get("outtype")->GetString());
    auto model = Checkpoint::Open(MakeFolder(i), options);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }

  std::unique_ptr<const JsonDocument> document_;
  std::vector<JsonValue> cases_;
};

TEST_P(CheckpointGoldenTest, MetadataAndTensorsAreTheConverters) {
  for (size_t i = 0; i < cases_.size(); ++i) {
    const JsonValue& c = cases_[i];
    SCOPED_TRACE(std::string(*c.Get("name")->GetString()));
    const auto model = OpenCase(i);
    ASSERT_NE(model, nullptr);
    std::vector<std::string> expected;
    for (const JsonValue& entry : Elements(*c.Get("metadata"))) {
      const std::vector<JsonValue> parts = Elements(entry);
      expected.push_back(absl::StrCat(
          *parts[0].GetString(), " ",
          GoldenText(std::string(*parts[1].GetString()), parts[2])));
    }
    EXPECT_EQ(MetadataTexts(model->metadata()), expected);

    const std::vector<std::string> tensors = TensorTexts(*model);
    if (auto golden = c.Find("tensors")) {
      std::vector<std::string> texts;
      for (const JsonValue& entry : Elements(*golden)) {
        const std::vector<JsonValue> parts = Elements(entry);
        std::vector<int64_t> shape;
        for (const JsonValue& size : Elements(parts[2])) {
          shape.push_back(*size.GetInteger());
        }
        texts.push_back(
            absl::StrCat(*parts[0].GetString(), " ", *parts[1].GetString(), " ",
                         ShapeString(shape), " ", *parts[3].GetInteger()));
      }
      EXPECT_EQ(tensors, texts);
    }
    const std::string listing = absl::StrJoin(tensors, "\n") + "\n";
    EXPECT_EQ(Crc32(0, listing.data(), listing.size()),
              *c.Get("tensors_crc32")->GetInteger());
  }
}

TEST_P(CheckpointGoldenTest, ConfigIsWhatTransformersUnderstands) {
  using Kind = RopeScaling::Kind;
  for (size_t i = 0; i < cases_.size(); ++i) {
    const JsonValue& c = cases_[i];
    SCOPED_TRACE(std::string(*c.Get("name")->GetString()));
    const auto expected = c.FindNonNull("config");
    if (!expected) {
      continue;  // transformers refuses it, the converter does not
    }
    const auto model = OpenCase(i);
    ASSERT_NE(model, nullptr);
    const ModelConfig& config = model->config();
    const std::pair<const char*, double> numbers[] = {
        {"n_layers", config.n_layers},
        {"hidden_size", config.hidden_size},
        {"ffn_size", config.ffn_size},
        {"n_heads", config.n_heads},
        {"n_kv_heads", config.n_kv_heads},
        {"head_dim", config.head_dim},
        {"context_length", config.context_length},
        {"rope_theta", config.rope_theta},
        {"rope_theta_local",
         config.rope_theta_local.value_or(config.rope_theta)},
        {"sliding_window", config.sliding_window},
    };
    for (const auto& [key, value] : numbers) {
      EXPECT_EQ(value, *expected->Get(key)->GetNumber()) << key;
    }
    EXPECT_FLOAT_EQ(config.norm_eps, *expected->Get("norm_eps")->GetNumber());
    EXPECT_FLOAT_EQ(config.rope_scaling.attention_factor,
                    *expected->Get("attention_factor")->GetNumber());
    std::vector<bool> sliding;
    for (const JsonValue& is : Elements(*expected->Get("layer_is_sliding"))) {
      sliding.push_back(*is.GetBool());
    }
    EXPECT_EQ(config.layer_is_sliding, sliding);
    const absl::string_view type = *expected->Get("rope_type")->GetString();
    const Kind kind = type == "linear"     ? Kind::kLinear
                      : type == "dynamic"  ? Kind::kDynamic
                      : type == "llama3"   ? Kind::kLlama3
                      : type == "yarn"     ? Kind::kYarn
                      : type == "longrope" ? Kind::kLongRope
                                           : Kind::kNone;
    EXPECT_EQ(config.rope_scaling.kind, kind);
    if (kind != Kind::kNone && kind != Kind::kLongRope) {
      EXPECT_EQ(config.rope_scaling.factor,
                *expected->Get("rope_factor")->GetNumber());
    }
    if (kind == Kind::kLlama3) {
      EXPECT_EQ(config.rope_scaling.freq_factors.size(),
                static_cast<size_t>(config.rope_dim / 2));
    }
  }
}

// A folder and the GGUF file made of it are one model to their readers.
TEST_P(CheckpointGoldenTest, GgufFileReadsBackTheSame) {
  for (size_t i = 0; i < cases_.size(); ++i) {
    SCOPED_TRACE(std::string(*cases_[i].Get("name")->GetString()));
    const auto model = OpenCase(i);
    ASSERT_NE(model, nullptr);
    const std::string path =
        absl::StrCat(testing::TempDir(), "/", GetParam(), ".gguf");
    const auto sink = NewGgufWriter(path);
    std::vector<TensorMeta> metas;
    for (const CheckpointTensor& tensor : model->tensors()) {
      metas.push_back(tensor.meta);
      metas.back().type = QuantType::kF32;
    }
    ASSERT_TRUE(sink->Begin(metas, model->metadata()).ok());
    for (const CheckpointTensor& tensor : model->tensors()) {
      for (int64_t r = 0; r < tensor.meta.n_rows(); ++r) {
        const absl::Span<const uint8_t> row = model->RowBytes(tensor, r);
        std::vector<uint8_t> bytes;
        for (int64_t k = 0; k < tensor.meta.n_cols(); ++k) {
          const uint32_t bits =
              FloatBits(Decode(tensor.stored, row.data(), k) + tensor.offset);
          for (int shift = 0; shift < 32; shift += 8) {
            bytes.push_back(static_cast<uint8_t>(bits >> shift));
          }
        }
        ASSERT_TRUE(sink->Append(bytes).ok());
      }
    }
    ASSERT_TRUE(sink->Finish().ok());

    auto opened = Checkpoint::Open(path, {});
    ASSERT_TRUE(opened.ok()) << opened.status();
    const Checkpoint& gguf = **opened;
    EXPECT_TRUE(gguf.is_gguf());
    EXPECT_EQ(gguf.arch(), model->arch());
    EXPECT_EQ(MetadataTexts(gguf.metadata()), MetadataTexts(model->metadata()));
    ASSERT_EQ(gguf.tensors().size(), model->tensors().size());
    for (size_t t = 0; t < gguf.tensors().size(); ++t) {
      EXPECT_EQ(gguf.tensors()[t].meta.name, model->tensors()[t].meta.name);
      EXPECT_EQ(gguf.tensors()[t].layer, model->tensors()[t].layer);
    }
    ExpectSameModel(gguf.config(), model->config());
  }
}

TEST_P(CheckpointGoldenTest, RowsMayBeReadAgainAfterRelease) {
  const auto model = OpenCase(0);
  ASSERT_NE(model, nullptr);
  for (const CheckpointTensor& tensor : model->tensors()) {
    const uint32_t before = TensorCrc(*model, tensor);
    model->Release(tensor, 0, tensor.meta.n_rows());
    model->Release(tensor, tensor.meta.n_rows() / 2, 1);
    EXPECT_EQ(TensorCrc(*model, tensor), before) << tensor.meta.name;
    EXPECT_EQ(model->Find(tensor.meta.name), &tensor);
  }
  EXPECT_EQ(model->Find("blk.0.no_such.weight"), nullptr);
}

// A flipped bit of config.json gives an error or a model whose every row can
// be read.
TEST_P(CheckpointGoldenTest, FlippedBitsOfTheConfigNeverCrash) {
  const std::string folder = MakeFolder(0);
  const std::string path = JoinPath(folder, "config.json");
  const std::string whole(
      *cases_[0].Get("files")->Get("config.json")->GetString());
  int n_refused = 0;
  int n_tried = 0;
  for (size_t i = 0; i < whole.size(); i += 5) {
    ++n_tried;
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ (1 << (i % 7)));
    std::ofstream(path, std::ios::binary) << text;
    CheckpointOptions options;
    options.skip_tokenizer = true;
    const auto model = Checkpoint::Open(folder, options);
    n_refused += !model.ok();
    if (model.ok() && i % 80 == 0) {
      EXPECT_FALSE(TensorTexts(**model).empty());
    }
  }
  EXPECT_GT(n_refused, n_tried / 4);
}

INSTANTIATE_TEST_SUITE_P(Families, CheckpointGoldenTest,
                         testing::Values("gemma2", "gemma3_text", "llama2",
                                         "llama3", "mistral", "mixtral", "phi3",
                                         "qwen2", "qwen3", "qwen3_moe"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace narrow
