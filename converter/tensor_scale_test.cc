// NVFP4 files: which tensors get a scale, that it is the weights' own, and
// that what is read back is nearer to the weights than without it.

#include "converter/tensor_scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "calibration/weights/weights.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  auto model = Checkpoint::Open(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// `model` as NVFP4, written and opened again.
std::unique_ptr<Checkpoint> Converted(const Checkpoint& model, int n_threads) {
  Recipe recipe;
  recipe.file_type = FileType::kNVFP4;
  const Plan plan = MakePlan(model, recipe, nullptr).value();
  const std::string path = JoinPath(::testing::TempDir(), "nvfp4.gguf");
  PipelineOptions options;
  options.n_threads = n_threads;
  const absl::Status status = WriteOutputs(model, {{&plan, path}}, options);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(std::filesystem::file_size(path),
            static_cast<uintmax_t>(plan.file_bytes));
  return Open(path);
}

std::vector<float> Rows(const Checkpoint& model, const CheckpointTensor& tensor,
                        int64_t first_row, int64_t n_rows) {
  std::vector<float> rows(static_cast<size_t>(n_rows * tensor.meta.n_cols()));
  const absl::Status status =
      ReadScaledRows(model, tensor, first_row, n_rows, rows.data());
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

double SquaredDistance(const std::vector<float>& a,
                       const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  }
  return sum;
}

TEST(TensorScaleTest, ScaledBlocksAreNearerThanPlainOnes) {
  const auto model = Open("testdata/tiny-llama");
  const auto file = Converted(*model, 2);
  const BlockCodec& codec = *FindCodec(QuantType::kNVFP4);
  int n_scaled = 0;
  for (const CheckpointTensor& tensor : file->tensors()) {
    if (tensor.meta.type != QuantType::kNVFP4) {
      EXPECT_TRUE(tensor.scales.empty()) << tensor.meta.name;
      continue;
    }
    ASSERT_EQ(tensor.scales.size(), 1u) << tensor.meta.name;
    const CheckpointTensor& source = *model->Find(tensor.meta.name);
    const int64_t n_rows = tensor.meta.n_rows();
    const int64_t n_cols = tensor.meta.n_cols();
    const std::vector<float> weights = Rows(*model, source, 0, n_rows);
    const std::vector<float> scaled = Rows(*file, tensor, 0, n_rows);
    std::vector<uint8_t> bytes(static_cast<size_t>(tensor.meta.n_bytes()));
    codec.EncodeRows(weights.data(), n_rows, n_cols, nullptr, bytes.data());
    std::vector<float> plain(weights.size());
    codec.Decode(bytes.data(), n_rows * n_cols / codec.block, plain.data());
    EXPECT_LT(SquaredDistance(weights, scaled), SquaredDistance(weights, plain))
        << tensor.meta.name;
    ++n_scaled;
  }
  EXPECT_EQ(n_scaled, 28);  // 7 matrices in each of 4 layers
}

TEST(TensorScaleTest, ExpertsHaveOneEach) {
  const auto model = Open("testdata/arch/mixtral");
  const auto file = Converted(*model, 3);
  int n_stacked = 0;
  for (const CheckpointTensor& tensor : file->tensors()) {
    if (tensor.meta.type != QuantType::kNVFP4 || tensor.meta.shape.size() < 3) {
      continue;
    }
    const size_t n_experts = static_cast<size_t>(tensor.meta.shape[0]);
    ASSERT_EQ(tensor.scales.size(), n_experts);
    const CheckpointTensor& source = *model->Find(tensor.meta.name);
    const int64_t n_rows = tensor.meta.shape[1];
    for (size_t e = 0; e < n_experts; ++e) {
      const int64_t first = static_cast<int64_t>(e) * n_rows;
      const std::vector<float> weights = Rows(*model, source, first, n_rows);
      float absmax = 0;
      for (const float x : weights) {
        absmax = std::max(absmax, std::fabs(x));
      }
      EXPECT_EQ(tensor.scales[e], ScaleOf(absmax)) << tensor.meta.name;
      // The type's error budget bounds its relative RMS error.
      const float budget = FindCodec(QuantType::kNVFP4)->error_budget;
      const std::vector<float> zeros(weights.size());
      EXPECT_LT(SquaredDistance(weights, Rows(*file, tensor, first, n_rows)),
                std::pow(budget, 2) * SquaredDistance(weights, zeros));
    }
    ++n_stacked;
  }
  EXPECT_GT(n_stacked, 0);
}

TEST(TensorScaleTest, NoneWhereLlamaCppWouldNotApplyIt) {
  const auto model = Open("testdata/arch/gemma3_text");
  const auto file = Converted(*model, 1);
  int n_attention = 0;
  for (const CheckpointTensor& tensor : file->tensors()) {
    if (absl::StrContains(tensor.meta.name, ".scale")) {
      EXPECT_TRUE(absl::StrContains(tensor.meta.name, "attn_"))
          << tensor.meta.name;
      ++n_attention;
    }
  }
  EXPECT_GT(n_attention, 0);
}

TEST(TensorScaleTest, ZerosHaveTheScaleOne) {
  EXPECT_EQ(ScaleOf(0.0f), 1.0f);
  EXPECT_EQ(ScaleOf(1e-40f), 1.0f);
  EXPECT_EQ(ScaleOf(1440.0f), 1.0f);
}

}  // namespace
}  // namespace narrow
