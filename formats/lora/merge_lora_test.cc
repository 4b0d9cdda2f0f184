#include "formats/lora/merge_lora.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/safetensors/safetensors_writer.h"
#include "formats/tensor_rows.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

std::string Folder(absl::string_view name) {
  return absl::StrCat("testdata/lora/", name);
}

std::vector<float> Values(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.meta.n_elements()));
  const absl::Status status =
      ReadTensorRows(view, 0, view.meta.n_rows(), values.data());
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

struct Variant {
  const char* name;
  const char* base;
};

class MergeLoraVariantTest : public testing::TestWithParam<Variant> {};

// Sums of a handful of products of numbers near 1, in another order: a few
// units in the last place of 1. DoRA multiplies by a quotient of such.
constexpr float kTolerance = 4e-6f;

TEST_P(MergeLoraVariantTest, AgreesWithPeft) {
  auto base = OpenSafetensorsFolder(Folder(GetParam().base));
  ASSERT_TRUE(base.ok()) << base.status();
  const auto expected =
      OpenSafetensors(Folder(GetParam().name) + "/merged.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.status();
  auto merged = MergeLora(*std::move(base), Folder(GetParam().name));
  ASSERT_TRUE(merged.ok()) << merged.status();
  ASSERT_EQ((*merged)->tensors().size(), (*expected)->tensors().size());
  int n_merged = 0;
  for (const TensorView& want : (*expected)->tensors()) {
    SCOPED_TRACE(want.meta.name);
    const TensorView* got = (*merged)->Find(want.meta.name);
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(got->meta.shape, want.meta.shape);
    EXPECT_EQ((*merged)->stored_type(want.meta.name), want.meta.type);
    const std::vector<float> a = Values(*got);
    const std::vector<float> b = Values(want);
    const bool half = want.meta.type == QuantType::kBF16;
    n_merged += got->rows != nullptr;
    int n_differ = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      // Where the sum lies in the middle of two bfloat16, either may come.
      const float bound =
          half ? std::fabs(b[i]) / 128 : kTolerance * (1 + std::fabs(b[i]));
      EXPECT_NEAR(a[i], b[i], bound) << i;
      n_differ += a[i] != b[i];
    }
    if (got->rows == nullptr || half) {
      EXPECT_LE(n_differ, half ? 1 : 0);
    }
  }
  EXPECT_GT(n_merged, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Lora, MergeLoraVariantTest,
    testing::Values(Variant{"plain", "llama"}, Variant{"bf16", "llama-bf16"},
                    Variant{"patterns", "llama"}, Variant{"dora", "llama"},
                    Variant{"embedding", "llama"}, Variant{"bias", "llama"},
                    Variant{"all_bias", "llama"}, Variant{"gpt2", "gpt2-base"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(MergeLora, RowsDoNotDependOnThePieces) {
  for (const Variant& variant :
       {Variant{"dora", "llama"}, Variant{"gpt2", "gpt2-base"},
        Variant{"embedding", "llama"}, Variant{"bf16", "llama-bf16"}}) {
    auto base = OpenSafetensorsFolder(Folder(variant.base));
    const auto merged = MergeLora(*std::move(base), Folder(variant.name));
    ASSERT_TRUE(merged.ok()) << merged.status();
    for (const TensorView& view : (*merged)->tensors()) {
      const std::vector<float> whole = Values(view);
      const int64_t n_cols = view.meta.n_cols();
      for (int64_t first = 0; first < view.meta.n_rows(); first += 3) {
        const int64_t n = std::min<int64_t>(3, view.meta.n_rows() - first);
        std::vector<float> piece(static_cast<size_t>(n * n_cols));
        ASSERT_TRUE(ReadTensorRows(view, first, n, piece.data()).ok());
        EXPECT_EQ(std::memcmp(piece.data(), whole.data() + first * n_cols,
                              piece.size() * sizeof(float)),
                  0);
      }
    }
  }
}

// An adapter that a test makes, of float32 tensors filled with 1.
class DamagedAdapterTest : public testing::Test {
 protected:
  using Tensor = std::pair<std::string, std::vector<int64_t>>;

  static constexpr char kPlain[] =
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4})";

  absl::Status Merge(absl::string_view config,
                     const std::vector<Tensor>& tensors, float value = 1) {
    EXPECT_TRUE(
        WriteTextFile(JoinPath(folder_, "adapter_config.json"), config).ok());
    std::vector<TensorMeta> metas;
    for (const auto& [name, shape] : tensors) {
      metas.push_back(
          {absl::StrCat("base_model.model.", name), QuantType::kF32, shape});
    }
    auto writer =
        NewSafetensorsWriter(JoinPath(folder_, "adapter_model.safetensors"));
    EXPECT_TRUE(writer->Begin(metas, {}).ok());
    for (const TensorMeta& meta : metas) {
      const std::vector<float> values(static_cast<size_t>(meta.n_elements()),
                                      value);
      EXPECT_TRUE(writer
                      ->Append({reinterpret_cast<const uint8_t*>(values.data()),
                                values.size() * sizeof(float)})
                      .ok());
    }
    EXPECT_TRUE(writer->Finish().ok());
    auto base = OpenSafetensorsFolder(Folder("llama"));
    auto merged = MergeLora(*std::move(base), folder_);
    if (!merged.ok()) {
      return merged.status();
    }
    for (const TensorView& view : (*merged)->tensors()) {
      std::vector<float> values(static_cast<size_t>(view.meta.n_elements()));
      const absl::Status status =
          ReadTensorRows(view, 0, view.meta.n_rows(), values.data());
      if (!status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  void Expect(absl::string_view config, const std::vector<Tensor>& tensors,
              absl::StatusCode code, const std::string& words,
              float value = 1) {
    const absl::Status status = Merge(config, tensors, value);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  const std::string q_ = "model.layers.0.self_attn.q_proj";
  const Tensor a_ = {q_ + ".lora_A.weight", {2, 16}};
  const Tensor b_ = {q_ + ".lora_B.weight", {16, 2}};
  const std::string folder_ = absl::StrCat(
      testing::TempDir(), "/lora_",
      testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(DamagedAdapterTest, TakesAnAdapterThatFits) {
  EXPECT_TRUE(Merge(kPlain, {a_, b_}).ok());
  EXPECT_TRUE(
      Merge(kPlain, {{q_ + ".lora_A.default.weight", {2, 16}}, b_}).ok());
}

TEST_F(DamagedAdapterTest, RefusesShapesThatDoNotFit) {
  const auto bad = absl::StatusCode::kInvalidArgument;
  Expect(kPlain, {{a_.first, {2, 15}}, b_}, bad, "[2, 15]");
  Expect(kPlain, {a_, {b_.first, {17, 2}}}, bad, "[17, 2]");
  // Only with fan_in_fan_out may a matrix lie the other way round.
  const std::string k = "model.layers.0.self_attn.k_proj";
  Expect(kPlain,
         {{k + ".lora_A.weight", {2, 8}}, {k + ".lora_B.weight", {16, 2}}}, bad,
         "does not fit");
  Expect(kPlain, {{"lm_head.weight", {25, 16}}}, bad, "[25, 16]");
  Expect(kPlain,
         {{"model.norm.lora_A.weight", {2, 16}},
          {"model.norm.lora_B.weight", {16, 2}}},
         bad, "does not fit");
}

TEST_F(DamagedAdapterTest, RefusesRanksThatDisagree) {
  const auto bad = absl::StatusCode::kDataLoss;
  Expect(kPlain, {{a_.first, {3, 16}}, b_}, bad, "rank 2");
  Expect(kPlain, {a_, {b_.first, {16, 3}}}, bad, "rank 2");
  Expect(R"({"peft_type": "LORA", "r": 2, "rank_pattern": {"q_proj": 5}})",
         {a_, b_}, bad, "rank 5");
  Expect(R"({"peft_type": "LORA", "r": 0})", {a_, b_}, bad, "rank");
  Expect(R"({"peft_type": "LORA", "r": 2, "rank_pattern": {"q": 0.5}})",
         {a_, b_}, bad, "no rank");
}

TEST_F(DamagedAdapterTest, RefusesTensorsThatAreMissingOrUnknown) {
  Expect(kPlain, {a_}, absl::StatusCode::kDataLoss, "lacks lora_B");
  Expect(kPlain, {b_}, absl::StatusCode::kDataLoss, "lacks lora_A");
  Expect(kPlain, {}, absl::StatusCode::kDataLoss, "without tensors");
  Expect(kPlain, {a_, b_, {q_ + ".lora_C.weight", {1}}},
         absl::StatusCode::kUnimplemented, "lora_C");
  Expect(kPlain, {a_, b_, {q_ + ".lora_magnitude_vector", {16}}},
         absl::StatusCode::kDataLoss, "use_dora");
  Expect(kPlain, {{a_.first, {2, 16, 1, 1}}, {b_.first, {16, 2, 1, 1}}},
         absl::StatusCode::kUnimplemented, "convolution");
  Expect(R"({"peft_type": "LORA", "r": 2, "use_dora": true})", {a_, b_},
         absl::StatusCode::kDataLoss, "lacks lora_magnitude_vector");
}

TEST_F(DamagedAdapterTest, NamesTheNearestOfWhatTheModelHasNot) {
  Expect(kPlain,
         {{"model.layers.7.self_attn.q_proj.lora_A.weight", {2, 16}},
          {"model.layers.7.self_attn.q_proj.lora_B.weight", {16, 2}}},
         absl::StatusCode::kNotFound,
         "nearest is 'model.layers.0.self_attn.q_proj.weight'");
  Expect(kPlain, {{"score.weight", {2, 16}}}, absl::StatusCode::kNotFound,
         "score.weight");
}

TEST_F(DamagedAdapterTest, NamesOptionsThatWouldChangeTheResult) {
  for (const char* option :
       {R"("peft_type": "IA3")", R"("layer_replication": [[0, 1]])",
        R"("use_qalora": true)", R"("init_lora_weights": "pissa_niter_4")",
        R"("target_parameters": ["experts.gate_up_proj"])",
        R"("trainable_token_indices": [1])", R"("a_new_option": 3)"}) {
    const std::string config = absl::StrCat(
        "{",
        absl::StrContains(option, "peft_type") ? "" : R"("peft_type": "LORA",)",
        R"("r": 2, )", option, "}");
    const std::string name(option + 1, std::strchr(option + 1, '"'));
    Expect(config, {a_, b_}, absl::StatusCode::kUnimplemented, name);
  }
  EXPECT_TRUE(Merge(R"({"peft_type": "LORA", "r": 2, "a_new_option": null,
                        "init_lora_weights": "gaussian"})",
                    {a_, b_})
                  .ok());
}

TEST_F(DamagedAdapterTest, RefusesWhatIsNotFinite) {
  Expect(kPlain, {a_, b_}, absl::StatusCode::kDataLoss, "not finite", NAN);
  Expect(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 1e300})", {a_, b_},
         absl::StatusCode::kDataLoss, "lora_alpha");
}

TEST_F(DamagedAdapterTest, SaysWhichFileIsMissing) {
  auto open = [this] {
    auto base = OpenSafetensorsFolder(Folder("llama"));
    return MergeLora(*std::move(base), folder_).status();
  };
  EXPECT_THAT(std::string(open().message()), HasSubstr("adapter_config.json"));
  EXPECT_TRUE(
      WriteTextFile(JoinPath(folder_, "adapter_config.json"), kPlain).ok());
  EXPECT_EQ(open().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(WriteTextFile(JoinPath(folder_, "adapter_model.bin"), "x").ok());
  EXPECT_EQ(open().code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(
      WriteTextFile(JoinPath(folder_, "adapter_config.json"), "[").ok());
  EXPECT_EQ(open().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace narrow
