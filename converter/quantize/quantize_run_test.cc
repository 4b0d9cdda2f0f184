#include "converter/quantize/quantize_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/recipe/method.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/report/quantize_report.h"
#include "converter/quantize/test_run.h"
#include "formats/base/file.h"
#include "formats/base/float16.h"
#include "formats/json/json.h"
#include "formats/packing/packed_source.h"
#include "formats/packing/packing.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/safetensors/safetensors_writer.h"
#include "kernels/device.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

struct FakeTensor {
  std::string name;
  QuantType type;
  std::vector<int64_t> shape;
};

// A vision model of no family that we know: linear layers under names of
// their own, and much that is none.
const FakeTensor kUnknownModel[] = {
    {"vit.embeddings.patch_embeddings.projection.weight",
     QuantType::kF32,
     {256, 3, 4, 4}},
    {"vit.embeddings.position_embeddings", QuantType::kF32, {1, 17, 256}},
    {"vit.encoder.layer.0.attention.query.weight",
     QuantType::kBF16,
     {256, 256}},
    {"vit.encoder.layer.0.attention.query.bias", QuantType::kBF16, {256}},
    {"vit.encoder.layer.0.attention.key.weight", QuantType::kBF16, {256, 256}},
    {"vit.encoder.layer.0.attention.value.weight",
     QuantType::kBF16,
     {256, 256}},
    {"vit.encoder.layer.0.intermediate.dense.weight",
     QuantType::kBF16,
     {512, 256}},
    {"vit.encoder.layer.0.output.dense.weight", QuantType::kBF16, {256, 512}},
    // Rows that no group divides.
    {"vit.encoder.layer.0.adapter.weight", QuantType::kBF16, {256, 100}},
    {"vit.encoder.layer.0.layernorm_before.weight", QuantType::kBF16, {256}},
    {"vit.encoder.layer.0.steps", QuantType::kI64, {3}},
    {"odd", QuantType::kU8, {5}},
    {"classifier.weight", QuantType::kBF16, {10, 256}},
};

void AppendRandom(std::mt19937* random, const FakeTensor& tensor,
                  std::vector<uint8_t>* bytes) {
  TensorMeta meta{tensor.name, tensor.type, tensor.shape};
  for (int64_t i = 0; i < meta.n_elements(); ++i) {
    // A sum of uniform numbers, the same on every machine.
    float value = 0;
    for (int k = 0; k < 4; ++k) {
      value += static_cast<float>((*random)() >> 8) * 0x1p-24f - 0.5f;
    }
    const uint16_t half = Bf16FromFloat(value);
    if (tensor.type == QuantType::kF32) {
      const auto* from = reinterpret_cast<const uint8_t*>(&value);
      bytes->insert(bytes->end(), from, from + 4);
    } else if (tensor.type == QuantType::kBF16) {
      const auto* from = reinterpret_cast<const uint8_t*>(&half);
      bytes->insert(bytes->end(), from, from + 2);
    } else {
      bytes->insert(bytes->end(),
                    static_cast<size_t>(meta.row_bytes() / meta.n_cols()),
                    static_cast<uint8_t>(i));
    }
  }
}

// Writes kUnknownModel; `bad` puts a NaN into its last linear layer.
std::string WriteUnknownModel(bool bad = false) {
  const std::string folder = Folder("model");
  fs::create_directories(folder);
  std::vector<TensorMeta> metas;
  for (const FakeTensor& tensor : kUnknownModel) {
    metas.push_back({tensor.name, tensor.type, tensor.shape});
  }
  Metadata metadata;
  metadata.Set("format", std::string("pt"));
  auto sink = NewSafetensorsFolderWriter(folder, int64_t{1} << 40);
  EXPECT_TRUE(sink->Begin(metas, metadata).ok());
  std::mt19937 random(1);
  for (const FakeTensor& tensor : kUnknownModel) {
    std::vector<uint8_t> bytes;
    AppendRandom(&random, tensor, &bytes);
    if (bad && tensor.name == "vit.encoder.layer.0.output.dense.weight") {
      const uint16_t nan = 0x7fc0;
      std::memcpy(bytes.data() + 2 * 700, &nan, sizeof(nan));
    }
    EXPECT_TRUE(sink->Append(bytes).ok());
  }
  EXPECT_TRUE(sink->Finish().ok());
  EXPECT_TRUE(WriteTextFile(JoinPath(folder, "config.json"),
                            "{\n  \"model_type\": \"vit\",\n  \"other\": "
                            "1e-05,\n  \"architectures\": [\"ViTX\"]\n}\n")
                  .ok());
  EXPECT_TRUE(
      WriteTextFile(JoinPath(folder, "preprocessor_config.json"), "{}").ok());
  EXPECT_TRUE(WriteTextFile(JoinPath(folder, "pytorch_model.bin"), "x").ok());
  return folder;
}

std::vector<float> AllRows(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.meta.n_elements()));
  if (view.rows != nullptr) {
    EXPECT_TRUE(view.rows->ReadRows(0, view.meta.n_rows(), values.data()).ok());
  } else if (view.meta.type == QuantType::kF32) {
    std::memcpy(values.data(), view.data.data(), view.data.size());
  } else {
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t half;
      std::memcpy(&half, view.data.data() + 2 * i, 2);
      values[i] = FloatFromBf16(half);
    }
  }
  return values;
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
    norm += a[i] * static_cast<double>(a[i]);
  }
  return error / norm;
}

// Opens an output as a client would: every tensor of the original is there,
// packed ones near what they were, all others the same bytes.
int CheckOutput(const std::string& model, const std::string& out, double most) {
  const auto config = JsonDocument::ReadFile(out + "/config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  auto inner = OpenSafetensorsFolder(out);
  EXPECT_TRUE(inner.ok()) << inner.status();
  auto unpacked = UnpackSource(*std::move(inner),
                               *(*config)->root().Find("quantization_config"));
  EXPECT_TRUE(unpacked.ok()) << unpacked.status();
  if (!unpacked.ok()) {
    return 0;
  }
  auto original = OpenSafetensorsFolder(model);
  EXPECT_TRUE(original.ok());
  for (const TensorView& view : (*original)->tensors()) {
    const TensorView* found = unpacked->source->Find(view.meta.name);
    if (found == nullptr) {
      ADD_FAILURE() << view.meta.name << " is missing";
      continue;
    }
    if (found->rows != nullptr) {
      const double error = RelativeError(AllRows(view), AllRows(*found));
      EXPECT_LT(error, most) << view.meta.name;
      EXPECT_GT(error, 0) << view.meta.name;
    } else if (found->meta.type == view.meta.type) {
      EXPECT_EQ(found->data, view.data) << view.meta.name;
    }
  }
  // Elements lie where their type can be read.
  for (const TensorView& view : unpacked->source->tensors()) {
    if (view.rows == nullptr && !view.data.empty()) {
      const int64_t element = Geometry(view.meta.type).block_bytes;
      EXPECT_EQ(view.origin.offset % element, 0) << view.meta.name;
    }
  }
  return static_cast<int>(unpacked->modules.size());
}

// Most relative error of random weights: a uniform grid of 2^b codes over
// groups of 32 to 256 has 4^-b times a crest factor below 12; 8-bit floats
// have about 2^-10.
double MostError(int bits) {
  return std::max(12.0 * std::pow(4.0, -bits), 2e-3);
}

TEST(QuantizeRun, EveryMethodInEveryFormatThatTakesIt) {
  const std::string model = WriteUnknownModel();
  int n_written = 0;
  for (const Method& method : AllMethods()) {
    if (*method.transform != '\0' || std::string(method.solver) == "gptq") {
      continue;  // calibrated: below
    }
    for (const Packing* packing : AllPackings()) {
      for (const int bits : {2, 3, 4, 8}) {
        if (method.kind != SchemeKind::kGroups && bits != method.bits) {
          continue;
        }
        const std::string out = Folder("out");
        const auto result = Quantize(
            model,
            absl::StrCat(
                "rule { method: \"", method.name, "\" bits: ", bits,
                method.kind == SchemeKind::kGroups ? " group_size: 64 " : " ",
                "} format: \"", packing->name, "\""),
            out);
        if (!result.ok()) {
          EXPECT_TRUE(absl::StrContains(result.status().message(),
                                        "formats that take this") ||
                      absl::StrContains(result.status().message(),
                                        "no format takes this") ||
                      absl::IsUnimplemented(result.status()) ||
                      absl::IsInvalidArgument(result.status()))
              << method.name << " " << packing->name << result.status();
          EXPECT_FALSE(fs::exists(out));
          EXPECT_FALSE(fs::exists(out + ".partial"));
          continue;
        }
        ++n_written;
        SCOPED_TRACE(absl::StrCat(method.name, " ", packing->name, " ", bits));
        EXPECT_GE(CheckOutput(model, out, MostError(bits)), 5);
        EXPECT_TRUE(fs::exists(out + "/preprocessor_config.json"));
        EXPECT_FALSE(fs::exists(out + "/pytorch_model.bin"));
      }
    }
  }
  EXPECT_GE(n_written, 20);
}

TEST(QuantizeRun, KeepsConfigurationAndSaysWhatStaysDense) {
  const std::string model = WriteUnknownModel();
  const std::string out = Folder("out");
  ASSERT_TRUE(
      Quantize(model, "rule { method: \"rtn\" group_size: 64 }", out).ok());
  const auto text = ReadTextFile(out + "/config.json", 1 << 20);
  ASSERT_TRUE(text.ok());
  EXPECT_TRUE(absl::StartsWith(
      *text, "{\n  \"model_type\": \"vit\",\n  \"other\": 1e-05,\n"));
  EXPECT_TRUE(absl::StrContains(*text, "\"classifier\""));
  EXPECT_TRUE(absl::StrContains(*text, "layer.0.adapter"));
  EXPECT_FALSE(absl::StrContains(*text, "patch_embeddings"));
}

// What transformers loads dense must be stored dense and be named: it keeps
// some layers of some families in float32, and looks for no packed tensors of
// output layers that share the embedding.
TEST(QuantizeRun, LayersThatClientsKeepDense) {
  const std::string folder = Folder("model");
  fs::create_directories(folder);
  const std::vector<TensorMeta> metas = {
      {"encoder.block.0.layer.1.DenseReluDense.wi.weight",
       QuantType::kBF16,
       {128, 64}},
      {"encoder.block.0.layer.1.DenseReluDense.wo.weight",
       QuantType::kBF16,
       {64, 128}},
      {"cls.predictions.bias", QuantType::kBF16, {64}}};
  auto sink = NewSafetensorsFolderWriter(folder, int64_t{1} << 40);
  ASSERT_TRUE(sink->Begin(metas, Metadata()).ok());
  for (const TensorMeta& meta : metas) {
    const std::vector<uint8_t> bytes(static_cast<size_t>(meta.n_bytes()), 0x3c);
    ASSERT_TRUE(sink->Append(bytes).ok());
  }
  ASSERT_TRUE(sink->Finish().ok());
  ASSERT_TRUE(WriteTextFile(JoinPath(folder, "config.json"),
                            "{\"model_type\": \"t5\"}\n")
                  .ok());
  for (const char* format : {"nf4", "int8"}) {
    const std::string out = Folder("out");
    const auto result = Quantize(
        folder, absl::StrCat("rule { method: \"", format, "\" }"), out);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto config = ReadTextFile(out + "/config.json", 1 << 20);
    ASSERT_TRUE(config.ok());
    const size_t skipped = config->find("\"llm_int8_skip_modules\": [");
    ASSERT_NE(skipped, std::string::npos) << *config;
    const std::string names =
        config->substr(skipped, config->find(']', skipped) - skipped);
    EXPECT_TRUE(absl::StrContains(names, "DenseReluDense.wo\"")) << names;
    EXPECT_FALSE(absl::StrContains(names, "DenseReluDense.wi\"")) << names;
    EXPECT_TRUE(absl::StrContains(names, "\"lm_head\"")) << names;
    EXPECT_TRUE(absl::StrContains(names, "\"cls.predictions.decoder\""))
        << names;
    EXPECT_FALSE(absl::StrContains(names, "vocab_projector")) << names;
    auto written = OpenSafetensorsFolder(out);
    ASSERT_TRUE(written.ok()) << written.status();
    const TensorView* wo =
        (*written)->Find("encoder.block.0.layer.1.DenseReluDense.wo.weight");
    ASSERT_NE(wo, nullptr);
    EXPECT_EQ(wo->meta.type, QuantType::kBF16);
  }
}

TEST(QuantizeRun, SameBytesForAnyThreadsAndInShards) {
  const std::string model = WriteUnknownModel();
  const std::string recipe = "rule { method: \"nvfp4\" }";
  const std::string one = Folder("one");
  const std::string many = Folder("many");
  const std::string shards = Folder("shards");
  ASSERT_TRUE(Quantize(model, recipe, one, 1).ok());
  ASSERT_TRUE(Quantize(model, recipe, many, 5).ok());
  ASSERT_TRUE(Quantize(model, recipe, shards, 2, 150000).ok());
  const auto a = MappedFile::Open(one + "/model.safetensors");
  const auto b = MappedFile::Open(many + "/model.safetensors");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->bytes(), (*b)->bytes());
  EXPECT_TRUE(fs::exists(shards + "/model.safetensors.index.json"));
  CheckOutput(model, shards, MostError(4));
}

TEST(QuantizeRun, FusedLayersShareNvfp4sGlobalScale) {
  const std::string model = WriteUnknownModel();
  const std::string out = Folder("out");
  ASSERT_TRUE(Quantize(model, "rule { method: \"nvfp4\" }", out).ok());
  const auto source = OpenSafetensorsFolder(out);
  ASSERT_TRUE(source.ok());
  std::vector<float> scales;
  for (const char* name : {"query", "key", "value"}) {
    const TensorView* view = (*source)->Find(absl::StrCat(
        "vit.encoder.layer.0.attention.", name, ".weight_global_scale"));
    ASSERT_NE(view, nullptr);
    scales.push_back(0);
    std::memcpy(&scales.back(), view->data.data(), 4);
  }
  EXPECT_EQ(scales[0], scales[1]);
  EXPECT_EQ(scales[0], scales[2]);
}

TEST(QuantizeRun, DamagedWeightsLeaveNothing) {
  const std::string model = WriteUnknownModel(/*bad=*/true);
  const std::string out = Folder("out");
  const auto result = Quantize(model, "rule { method: \"hqq\" }", out);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(result.status().message(),
                                "row 1, column 188; reading"))
      << result.status();
  EXPECT_FALSE(fs::exists(out));
  EXPECT_FALSE(fs::exists(out + ".partial"));
}

struct Refusal {
  const char* recipe;
  const char* says;
};

TEST(QuantizeRun, RefusesWhatCannotBeHadAndSaysWhatCan) {
  const Refusal kRefusals[] = {
      {"rule { method: \"gptq\" } calibration { file: \"x\" }",
       "rtn, hqq, nf4"},
      {"rule { method: \"gptqq\" }", "the nearest is 'gptq'"},
      {"rule { method: \"nf4\" bits: 3 }", "its codes have 4"},
      {"rule { method: \"nf4\" group_size: 64 }", "give block_size"},
      {"rule { method: \"rtn\" bits: 5 } format: \"gptq\"",
       "gptq takes bits: 2, 3, 4, 8"},
      {"rule { method: \"rtn\" } format: \"bitsandbytes\"",
       "formats that take this: gptq"},
      {"rule { method: \"rtn\" } format: \"gguf\"", "there is no format"},
      {"rule { method: \"rtn\" } ignore: \"(\"", "the pattern"},
      {"rule { method: \"rtn\" } ignore: \".\"", "no layer is left"},
      {"rule { method: \"rtn\" } strict: true", "adapter"},
      {"rule { method: \"rtn\" group_size: 1024 }",
       "'vit.encoder.layer.0.attention.query': compressed-tensors wants"},
      {"rule { method: \"rtn\" } override { pattern: \"query\" rule { bits: 8 "
       "} }",
       "must be alike"},
      {"rule { method: \"rtn\" } ignore: \"attention.key\"", "stays dense"},
      {"rule { method: \"rtn\" } solver { search: \"best\" }",
       "search cannot be 'best'"},
      {"rule { method: \"rtn\" } solver { damping: nan }", "damping is nan"},
      {"rule { method: \"rtn\" solver: \"compensate\" }", "'compensated'"},
      {"rule { method: \"nf4\" solver: \"gptq\" }", "across the ends"},
      {"rule { method: \"rtn\" } solver { residual: 0.5 }",
       "set drift above 0"},
      {"rule { method: \"rtn\" } calibration { token_weights: \"fisher\" }",
       "those of a calibration text"},
      {"rule { method: \"rtn\" } imatrix: \"x\"", "GGUF names"},
      {"preset: \"gptqmodl\"", "the nearest is 'gptqmodel'"},
  };
  const std::string model = WriteUnknownModel();
  for (const Refusal& refusal : kRefusals) {
    const std::string out = Folder("out");
    const auto result = Quantize(model, refusal.recipe, out);
    ASSERT_FALSE(result.ok()) << refusal.recipe;
    EXPECT_TRUE(absl::StrContains(result.status().message(), refusal.says))
        << refusal.recipe << ": " << result.status();
    EXPECT_FALSE(fs::exists(out + ".partial"));
  }
}

TEST(QuantizeRun, OverridesAndIgnoredLayers) {
  const std::string model = WriteUnknownModel();
  const std::string out = Folder("out");
  ASSERT_TRUE(Quantize(model,
                       "rule { method: \"rtn\" bits: 4 group_size: 64 } "
                       "override { pattern: \"output.dense$\" rule { bits: 8 } "
                       "} ignore: \"intermediate\"",
                       out)
                  .ok());
  const auto source = OpenSafetensorsFolder(out);
  ASSERT_TRUE(source.ok());
  EXPECT_NE((*source)->Find("vit.encoder.layer.0.intermediate.dense.weight"),
            nullptr);
  const TensorView* packed =
      (*source)->Find("vit.encoder.layer.0.output.dense.weight_packed");
  ASSERT_NE(packed, nullptr);
  EXPECT_EQ(packed->meta.shape, (std::vector<int64_t>{256, 128}));
  CheckOutput(model, out, MostError(4));
}

TEST(QuantizeRun, ReportsAreJsonWithEveryLayer) {
  const std::string model = WriteUnknownModel();
  const auto input = OpenModelInput(model, {});
  ASSERT_TRUE(input.ok());
  const auto recipe = ParseRecipe("rule { method: \"rtn\" }", "test");
  auto plan = PlanQuantize(**input, *recipe, {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunOptions run;
  run.out = Folder("out");
  QuantizeOutcome outcome;
  outcome.out = run.out;
  auto result = RunQuantize(**input, *plan, run);
  ASSERT_TRUE(result.ok()) << result.status();
  outcome.result = *std::move(result);
  const auto json = JsonDocument::Parse(QuantizeJson(*plan, outcome), "report");
  ASSERT_TRUE(json.ok()) << json.status();
  const JsonValue root = (*json)->root();
  EXPECT_EQ(*root.Find("refused")->GetInteger(), 1);
  EXPECT_EQ(*root.Find("file_bytes")->GetInteger(), plan->file_bytes);
  const auto layers = root.Find("layers")->GetElements();
  ASSERT_TRUE(layers.ok());
  ASSERT_EQ(layers->size(), 5u);
  for (const JsonValue& layer : *layers) {
    EXPECT_GT(*layer.Find("relative_error")->GetNumber(), 0);
  }
  const std::string table = QuantizeTable(*plan);
  for (const FakeTensor& tensor : kUnknownModel) {
    EXPECT_TRUE(absl::StrContains(table, tensor.name)) << tensor.name;
  }
}

TEST(QuantizeRun, QuantizedInputsAreRefused) {
  const std::string model = WriteUnknownModel();
  const std::string out = Folder("out");
  ASSERT_TRUE(Quantize(model, "rule { method: \"rtn\" }", out).ok());
  const auto again = Quantize(out, "rule { method: \"rtn\" }", Folder("again"));
  EXPECT_TRUE(absl::StrContains(again.status().message(), "--decode-quantized"))
      << again.status();
}

// Weights of a type that we do not compute with, and no configuration that
// says what they are.
TEST(QuantizeRun, WeightsInFp8WithoutScalesAreNamed) {
  const std::string model = Folder("model");
  fs::copy("testdata/arch/llama3", model, fs::copy_options::recursive);
  const std::string file = JoinPath(model, "model.safetensors");
  fs::remove(file);
  const auto source = OpenSafetensors("testdata/arch/llama3/model.safetensors");
  ASSERT_TRUE(source.ok()) << source.status();
  std::vector<TensorMeta> metas;
  for (const TensorView& view : (*source)->tensors()) {
    metas.push_back(view.meta);
    if (absl::StrContains(view.meta.name, "q_proj")) {
      metas.back().type = QuantType::kF8E4M3;
    }
  }
  const auto sink = NewSafetensorsWriter(file);
  ASSERT_TRUE(sink->Begin(metas, Metadata()).ok());
  for (const TensorMeta& meta : metas) {
    ASSERT_TRUE(sink->Append(std::vector<uint8_t>(
                                 static_cast<size_t>(meta.n_bytes()), 0))
                    .ok());
  }
  ASSERT_TRUE(sink->Finish().ok());
  const std::string out = Folder("out");
  const auto result = Quantize(model, "rule { method: \"rtn\" }", out);
  EXPECT_TRUE(absl::IsUnimplemented(result.status())) << result.status();
  EXPECT_TRUE(absl::StrContains(result.status().message(),
                                "q_proj.weight' is "
                                "f8_e4m3"))
      << result.status();
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace narrow
