// Bits of the library, and what is wrong with damaged files. What holds for
// every packing is in packing_test.cc, whole layers of the library in
// client_goldens_test.cc.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/json/json.h"
#include "formats/packing/memory_source.h"
#include "formats/packing/packing.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kLayer[] = "model.layers.3.mlp.down_proj";
const Packing& packing = kBitsAndBytesPacking;

WeightScheme FourBits(CodeKind code, int64_t block, bool nested) {
  WeightScheme scheme;
  scheme.code = code;
  scheme.flat = true;
  scheme.block_cols = block;
  scheme.nested_scales = nested;
  scheme.scale_type = QuantType::kF32;
  return scheme;
}

WeightScheme Int8() {
  WeightScheme scheme;
  scheme.bits = 8;
  scheme.block_cols = 0;
  scheme.scale_type = QuantType::kF32;
  scheme.scale_unit = 1.0f / 127.0f;
  return scheme;
}

std::string Plane(absl::string_view suffix) {
  return absl::StrCat(kLayer, suffix);
}

struct Model {
  MemorySource source;
  std::string config;
};

QuantizedMatrix Filled(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols) {
  QuantizedMatrix matrix;
  matrix.scheme = scheme;
  matrix.Resize(n_rows, n_cols);
  for (size_t i = 0; i < matrix.codes.size(); ++i) {
    matrix.codes[i] =
        static_cast<uint8_t>(i * 7 % static_cast<size_t>(scheme.n_codes()));
  }
  for (size_t i = 0; i < matrix.scales.size(); ++i) {
    matrix.scales[i] = 0.01f + 0.001f * static_cast<float>(i % 13);
  }
  return matrix;
}

void Fill(const QuantizedMatrix& matrix, Model* model) {
  PackedLayout layout;
  layout.modules.resize(1);
  layout.modules[0].name = kLayer;
  layout.modules[0].scheme = matrix.scheme;
  layout.dense_linears = {"lm_head"};
  model->source.Add(packing.planes(matrix.scheme, kLayer, matrix.n_rows,
                                   matrix.n_cols, QuantType::kBF16),
                    packing.pack(matrix, QuantType::kBF16).value());
  model->config = packing.config(layout).value();
}

absl::StatusOr<QuantizedMatrix> Read(const Model& model) {
  const auto document = JsonDocument::Parse(model.config, "config.json");
  const auto modules = packing.find((*document)->root(), model.source);
  if (!modules.ok()) {
    return modules.status();
  }
  if (modules->size() != 1) {
    return absl::InternalError(absl::StrCat(modules->size(), " modules"));
  }
  return packing.unpack((*modules)[0], 0, (*modules)[0].n_rows);
}

void ExpectError(const Model& model, absl::StatusCode code,
                 const std::vector<std::string>& words) {
  const auto matrix = Read(model);
  EXPECT_EQ(matrix.status().code(), code) << matrix.status();
  for (const std::string& word : words) {
    EXPECT_TRUE(absl::StrContains(matrix.status().message(), word))
        << word << " is not in: " << matrix.status();
  }
}

// bitsandbytes 0.50.2: quantize_4bit of torch.linspace(-1, 1, 64), one block.
TEST(BitsAndBytes, FirstCodeInTheHighNibble) {
  const std::pair<CodeKind, const char*> goldens[] = {
      {CodeKind::kNf4,
       "0000011111111222223334444555666778889"
       "9aaabbbccccddddeeeeeeefffff"},
      {CodeKind::kFp4,
       "bbbbbbaaaaaaaadddddccccffeeee9991116"
       "6667744445555522222222333333"}};
  for (const auto& [code, nibbles] : goldens) {
    ASSERT_EQ(std::strlen(nibbles), 64u);
    QuantizedMatrix matrix;
    matrix.scheme = FourBits(code, 64, false);
    matrix.Resize(1, 64);
    const float* table = CodeTable(code);
    for (int i = 0; i < 64; ++i) {
      const float x = -1 + 2 * static_cast<float>(i) / 63;
      uint8_t best = 0;
      for (uint8_t c = 1; c < 16; ++c) {
        if (std::fabs(table[c] - x) < std::fabs(table[best] - x)) {
          best = c;
        }
      }
      matrix.codes[static_cast<size_t>(i)] = best;
    }
    const auto planes = packing.pack(matrix, QuantType::kBF16);
    ASSERT_TRUE(planes.ok()) << planes.status();
    EXPECT_EQ(absl::BytesToHexString(
                  std::string((*planes)[0].begin(), (*planes)[0].end())),
              nibbles);
  }
}

TEST(QuantState, HasALengthThatDataDoNotChange) {
  const WeightScheme scheme = FourBits(CodeKind::kNf4, 64, true);
  for (const float scale : {1.0f, 1.17549435e-38f, 0.0123456789f, 1e30f}) {
    QuantizedMatrix matrix = Filled(scheme, 4, 64);
    std::fill(matrix.scales.begin(), matrix.scales.end(), scale);
    const auto metas = packing.planes(scheme, kLayer, 4, 64, QuantType::kF16);
    const auto planes = packing.pack(matrix, QuantType::kF16);
    ASSERT_TRUE(planes.ok()) << planes.status();
    ASSERT_EQ(metas.back().n_bytes(),
              static_cast<int64_t>(planes->back().size()));
    const std::string text(planes->back().begin(), planes->back().end());
    const auto json = JsonDocument::Parse(text, "state");
    ASSERT_TRUE(json.ok()) << json.status();
    const double offset =
        (*json)->root().Get("nested_offset")->GetNumber().value();
    EXPECT_EQ(static_cast<float>(offset), scale);
    EXPECT_EQ((*json)->root().Get("dtype")->GetString().value(), "float16");
  }
}

TEST(QuantState, ThatIsDamagedIsNamed) {
  const std::string name = Plane(".weight.quant_state.bitsandbytes__nf4");
  const auto with = [&](const std::string& text, absl::StatusCode code,
                        std::vector<std::string> words) {
    Model model;
    Fill(Filled(FourBits(CodeKind::kNf4, 64, false), 4, 64), &model);
    std::vector<uint8_t> bytes(text.begin(), text.end());
    model.source.Mutable(name)->meta.shape = {
        static_cast<int64_t>(bytes.size())};
    model.source.SetBytes(name, bytes);
    words.push_back(name);
    words.push_back("offset");
    words.push_back("packed.safetensors");
    ExpectError(model, code, words);
  };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  with("", kDataLoss, {});
  with("{\"blocksize\":64", kDataLoss, {});
  with("[1]", kDataLoss, {"an object"});
  with(R"({"shape":[4,64]})", kDataLoss, {"blocksize"});
  with(R"({"blocksize":0,"shape":[4,64]})", kDataLoss, {"a block of 0"});
  with(R"({"blocksize":64,"shape":[4,-64]})", kDataLoss, {"4 x -64"});
  with(R"({"blocksize":64,"shape":[4,1e300]})", kDataLoss, {"shape"});
  with(R"({"blocksize":64,"shape":[4,64,1]})", absl::StatusCode::kUnimplemented,
       {"3 dimensions"});
  with(R"({"blocksize":64,"shape":[4,64],"nested_offset":"x"})", kDataLoss,
       {"nested_offset"});
}

TEST(BitsAndBytes, DamagedPlanesAreNamed) {
  const auto fresh = [](Model* model) {
    Fill(Filled(FourBits(CodeKind::kFp4, 64, true), 4, 64), model);
  };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  for (const char* plane : {".weight", ".weight.absmax", ".weight.quant_map",
                            ".weight.nested_absmax", ".weight.nested_quant_map",
                            ".weight.quant_state.bitsandbytes__fp4"}) {
    Model model;
    fresh(&model);
    model.source.Remove(Plane(plane));
    ExpectError(model, kDataLoss, {Plane(plane), "packed.safetensors"});
  }
  {
    Model model;
    fresh(&model);
    model.source.Mutable(Plane(".weight.absmax"))->meta.type = QuantType::kI8;
    ExpectError(model, kDataLoss, {".weight.absmax", "is i8, not u8"});
  }
  {
    Model model;
    fresh(&model);
    model.source.SetBytes(Plane(".weight"), std::vector<uint8_t>(100));
    ExpectError(model, kDataLoss, {"need 128 bytes, it has 100"});
  }
  {
    Model model;
    fresh(&model);
    std::vector<float> table(CodeTable(CodeKind::kNf4),
                             CodeTable(CodeKind::kNf4) + 16);
    std::vector<uint8_t> bytes(64);
    std::memcpy(bytes.data(), table.data(), 64);
    model.source.SetBytes(Plane(".weight.quant_map"), bytes);
    ExpectError(model, kDataLoss, {"quant_map", "code 0 stands for -1"});
  }
  {
    Model model;
    fresh(&model);
    const float infinite = HUGE_VALF;
    std::vector<uint8_t> bytes(4);
    std::memcpy(bytes.data(), &infinite, 4);
    model.source.SetBytes(Plane(".weight.nested_absmax"), bytes);
    ExpectError(model, kDataLoss, {"nested_absmax", "not finite"});
  }
}

// Some programs keep the bytes in tensors of another type.
TEST(BitsAndBytes, ReadsCodesUnderAnyType) {
  const QuantizedMatrix matrix =
      Filled(FourBits(CodeKind::kNf4, 64, false), 4, 64);
  Model model;
  Fill(matrix, &model);
  TensorMeta& meta = model.source.Mutable(Plane(".weight"))->meta;
  meta.type = QuantType::kBF16;
  meta.shape = {64, 1};
  const auto read = Read(model);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->codes, matrix.codes);
}

TEST(LlmInt8, DamagedPlanesAreNamed) {
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  {
    Model model;
    Fill(Filled(Int8(), 3, 16), &model);
    model.source.Remove(Plane(".SCB"));
    ExpectError(model, kDataLoss, {".SCB", "packed.safetensors"});
  }
  {
    Model model;
    Fill(Filled(Int8(), 3, 16), &model);
    model.source.Mutable(Plane(".SCB"))->meta.shape = {1, 3};
    ExpectError(model, kDataLoss, {".SCB", "[1, 3], not [3]"});
  }
  {
    Model model;
    Fill(Filled(Int8(), 3, 16), &model);
    model.source.SetBytes(Plane(".weight_format"), {2});
    ExpectError(model, absl::StatusCode::kUnimplemented, {"weight_format"});
  }
}

TEST(Config, KeepsTheHeadOutByDefault) {
  PackedLayout layout;
  layout.modules.resize(1);
  layout.modules[0].name = kLayer;
  layout.modules[0].scheme = Int8();
  EXPECT_TRUE(absl::StrContains(packing.config(layout).value(),
                                "\"llm_int8_skip_modules\": null"));
  layout.modules[0].name = "model.lm_head";
  EXPECT_TRUE(absl::StrContains(packing.config(layout).value(),
                                "\"llm_int8_skip_modules\": []"));
  layout.dense_linears = {"visual.merger"};
  EXPECT_TRUE(
      absl::StrContains(packing.config(layout).value(), "visual.merger"));
  // transformers asks for a number with a point.
  EXPECT_TRUE(absl::StrContains(packing.config(layout).value(),
                                "\"llm_int8_threshold\": 6.0"));
}

TEST(Config, HasOneSchemeForAll) {
  PackedLayout layout;
  layout.modules.resize(2);
  layout.modules[0].scheme = Int8();
  layout.modules[1].scheme = FourBits(CodeKind::kNf4, 64, false);
  EXPECT_EQ(packing.config(layout).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(Supports, BlocksThatTheLibraryHas) {
  for (const int64_t block : {32, 64, 128, 256, 512, 1024, 2048, 4096}) {
    EXPECT_TRUE(
        packing.supports(FourBits(CodeKind::kNf4, block, true), 5, 7).ok());
  }
  for (const int64_t block : {0, 16, 48, 8192}) {
    EXPECT_EQ(
        packing.supports(FourBits(CodeKind::kNf4, block, true), 5, 7).code(),
        absl::StatusCode::kUnimplemented)
        << block;
  }
  WeightScheme scheme = Int8();
  scheme.scale_unit = 1;
  EXPECT_EQ(packing.supports(scheme, 5, 7).code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace narrow
