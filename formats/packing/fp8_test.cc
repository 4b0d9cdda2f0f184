// Names and layouts of other writers of this method, and what is wrong with
// damaged files. What holds for every packing is in packing_test.cc, what
// transformers packs in client_goldens_test.cc.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/json/json.h"
#include "formats/packing/memory_source.h"
#include "formats/packing/packing.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kLayer[] = "model.layers.3.self_attn.kv_a_proj";
constexpr char kBlocks[] =
    R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": [16, 32]})";
constexpr char kTensor[] =
    R"({"quant_method": "fp8", "activation_scheme": "static"})";
const Packing& packing = kFp8Packing;

std::string Plane(absl::string_view suffix) {
  return absl::StrCat(kLayer, suffix);
}

std::vector<uint8_t> FloatBytes(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void AddWeight(int64_t n_rows, int64_t n_cols, MemorySource* source) {
  std::vector<uint8_t> codes(static_cast<size_t>(n_rows * n_cols));
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>(i % 0x7f);
  }
  source->Add({Plane(".weight"), QuantType::kF8E4M3, {n_rows, n_cols}}, codes);
}

absl::StatusOr<QuantizedMatrix> Read(const char* config,
                                     const MemorySource& source) {
  const auto document = JsonDocument::Parse(config, "config.json");
  EXPECT_TRUE(packing.recognises((*document)->root()));
  const auto modules = packing.find((*document)->root(), source);
  if (!modules.ok()) {
    return modules.status();
  }
  if (modules->size() != 1) {
    return absl::InternalError(absl::StrCat(modules->size(), " modules"));
  }
  return packing.unpack((*modules)[0], 0, (*modules)[0].n_rows);
}

void ExpectError(const char* config, const MemorySource& source,
                 absl::StatusCode code, const std::vector<std::string>& words) {
  const auto matrix = Read(config, source);
  EXPECT_EQ(matrix.status().code(), code) << matrix.status();
  for (const std::string& word : words) {
    EXPECT_TRUE(absl::StrContains(matrix.status().message(), word))
        << word << " is not in: " << matrix.status();
  }
}

// DeepSeek-V3's kv_a_proj has 4.5 blocks of rows.
TEST(Fp8, LastBlocksMayBeShort) {
  MemorySource source;
  AddWeight(24, 80, &source);
  source.Add({Plane(".weight_scale_inv"), QuantType::kF32, {2, 3}},
             FloatBytes({1, 2, 3, 4, 5, 6}));
  const auto matrix = Read(kBlocks, source);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->scales, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(matrix->ScaleIndex(17, 70), 5);
  EXPECT_EQ(matrix->scheme.activations, ActivationKind::kDynamicFp8Groups);
}

TEST(Fp8, KnowsTheNamesOfOtherWriters) {
  const std::pair<const char*, const char*> names[] = {
      {".weight_scale_inv", ".activation_scale"},
      {".weight_scale", ".input_scale"},
      {".qscale_weight", ".qscale_act"}};
  for (const auto& [scale, input] : names) {
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{}, std::vector<int64_t>{1}}) {
      MemorySource source;
      AddWeight(4, 8, &source);
      source.Add({Plane(scale), QuantType::kF32, shape}, FloatBytes({0.5f}));
      source.Add({Plane(input), QuantType::kF32, shape}, FloatBytes({2}));
      const auto matrix = Read(kTensor, source);
      ASSERT_TRUE(matrix.ok()) << matrix.status();
      EXPECT_EQ(matrix->scales, std::vector<float>{0.5f});
      EXPECT_EQ(matrix->input_scale, 2);
    }
  }
}

TEST(Fp8, ExponentsAsScales) {
  MemorySource source;
  AddWeight(16, 64, &source);
  source.Add({Plane(".scale"), QuantType::kF8E8M0, {1, 2}}, {126, 130});
  auto matrix = Read(kBlocks, source);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->scales, (std::vector<float>{0.5f, 8}));

  MemorySource bytes;
  AddWeight(2, 64, &bytes);
  bytes.Add({Plane(".weight_scale_inv"), QuantType::kU8, {2, 2}},
            {126, 127, 128, 129});
  matrix = Read(R"({"quant_method": "mxfp8"})", bytes);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->scales, (std::vector<float>{0.5f, 1, 2, 4}));
  EXPECT_EQ(matrix->scheme.block_cols, 32);
}

TEST(Fp8, DamagedPlanesAreNamed) {
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  MemorySource source;
  AddWeight(24, 80, &source);
  ExpectError(kBlocks, source, kDataLoss,
              {"weight_scale_inv", "packed.safetensors", "offset"});
  source.Add({Plane(".weight_scale_inv"), QuantType::kF32, {2, 2}},
             FloatBytes({1, 2, 3, 4}));
  ExpectError(kBlocks, source, kDataLoss,
              {"weight_scale_inv", "[2, 2], not [2, 3]"});
  TensorView* scales = source.Mutable(Plane(".weight_scale_inv"));
  source.SetBytes(scales->meta.name,
                  FloatBytes({1, 2, 3, 4, std::nanf(""), 6}));
  scales->meta.shape = {2, 3};
  ExpectError(kBlocks, source, kDataLoss,
              {"weight_scale_inv", "element 4", "not finite"});
  scales->meta.type = QuantType::kI32;
  ExpectError(kBlocks, source, kDataLoss, {"weight_scale_inv", "is i32"});
  scales->meta.type = QuantType::kF32;
  source.SetBytes(scales->meta.name, FloatBytes({1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(Read(kBlocks, source).ok());
  std::vector<uint8_t> codes(24 * 80, 0);
  codes[81] = 0x7f;
  source.SetBytes(Plane(".weight"), codes);
  ExpectError(kBlocks, source, kDataLoss, {"element 81 is NaN"});
  // Static, but no scale of the inputs.
  MemorySource fixed;
  AddWeight(4, 8, &fixed);
  fixed.Add({Plane(".weight_scale"), QuantType::kF32, {}}, FloatBytes({1}));
  ExpectError(kTensor, fixed, kDataLoss, {"activation_scale"});
}

TEST(Fp8, NamesWhatItDoesNotRead) {
  MemorySource source;
  AddWeight(4, 32, &source);
  ExpectError(R"({"quant_method": "fp8", "fmt": "e5m2"})", source,
              absl::StatusCode::kUnimplemented, {"e5m2"});
  ExpectError(R"({"quant_method": "fp8", "weight_block_size": [128]})", source,
              absl::StatusCode::kDataLoss, {"weight_block_size"});
  ExpectError(R"({"quant_method": "fp8", "weight_block_size": [0, 128]})",
              source, absl::StatusCode::kDataLoss, {"0 x 128"});
  source.Mutable(Plane(".weight"))->meta.shape = {2, 2, 32};
  ExpectError(kBlocks, source, absl::StatusCode::kUnimplemented,
              {"[2, 2, 32]", "packed.safetensors"});
}

TEST(Fp8, WritesWhatTransformersAsksFor) {
  PackedLayout layout;
  layout.modules.resize(1);
  layout.modules[0].name = kLayer;
  WeightScheme& scheme = layout.modules[0].scheme;
  scheme.code = CodeKind::kE4M3;
  scheme.bits = 8;
  scheme.block_rows = 128;
  scheme.block_cols = 128;
  scheme.scale_type = QuantType::kF32;
  scheme.activations = ActivationKind::kDynamicFp8Groups;
  layout.dense_linears = {"lm_head"};
  EXPECT_EQ(packing.config(layout).value(), R"({
  "quant_method": "fp8",
  "fmt": "e4m3",
  "activation_scheme": "dynamic",
  "weight_block_size": [
    128,
    128
  ],
  "modules_to_not_convert": [
    "lm_head"
  ]
})");
  EXPECT_TRUE(packing.supports(scheme, 256, 128).ok());
  // transformers would divide 192 rows into two blocks of 96.
  EXPECT_EQ(packing.supports(scheme, 192, 128).code(),
            absl::StatusCode::kInvalidArgument);
  scheme.activations = ActivationKind::kNone;
  EXPECT_EQ(packing.supports(scheme, 256, 128).code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace narrow
