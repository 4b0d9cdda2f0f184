// What the clients' own functions pack, we read as they do and pack as they
// do: testdata/packing, made by tools/clients/make_packing_goldens.py.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "formats/containers.h"
#include "formats/json/json.h"
#include "formats/packing/bitsandbytes/nested_scales.h"
#include "formats/packing/packing.h"
#include "formats/packing/scale_type.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kFolder[] = "testdata/packing";

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".safetensors") {
      names.push_back(entry.path().stem());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<float> Numbers(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.meta.n_elements()));
  DecodeScales(view.meta.type, view.data.data(), view.meta.n_elements(),
               values.data());
  return values;
}

class ClientGoldens : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto source = OpenTensorSource(std::string(kFolder) + "/" + GetParam() +
                                   ".safetensors");
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
    packing_ = FindPacking(*source_->metadata().GetString("packing"));
    ASSERT_NE(packing_, nullptr);
    auto config = JsonDocument::Parse(
        *source_->metadata().GetString("quantization_config"), GetParam());
    ASSERT_TRUE(config.ok()) << config.status();
    config_ = *std::move(config);
    ASSERT_TRUE(packing_->recognises(config_->root()));
    auto modules = packing_->find(config_->root(), *source_);
    ASSERT_TRUE(modules.ok()) << modules.status();
    ASSERT_EQ(modules->size(), 1u);
    module_ = (*modules)[0];
    auto matrix = packing_->unpack(module_, 0, module_.n_rows);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    matrix_ = *std::move(matrix);
  }

  std::unique_ptr<TensorSource> source_;
  const Packing* packing_ = nullptr;
  std::unique_ptr<const JsonDocument> config_;
  PackedModule module_;
  QuantizedMatrix matrix_;
};

TEST_P(ClientGoldens, EveryTensorIsAPlane) {
  for (const TensorView& tensor : source_->tensors()) {
    if (tensor.meta.name == "expected" || tensor.meta.name == "scales") {
      continue;
    }
    EXPECT_NE(std::find(module_.planes.begin(), module_.planes.end(), &tensor),
              module_.planes.end())
        << tensor.meta.name;
  }
}

TEST_P(ClientGoldens, ReadsTheClientsWeights) {
  const TensorView* expected = source_->Find("expected");
  ASSERT_EQ(expected->meta.n_rows(), module_.n_rows);
  ASSERT_EQ(expected->meta.n_cols(), module_.n_cols);
  const absl::Status valid = CheckQuantizedMatrix(matrix_);
  EXPECT_TRUE(valid.ok()) << valid;
  const std::vector<float> wanted = Numbers(*expected);
  std::vector<float> weights(wanted.size());
  DequantizeRows(matrix_, 0, module_.n_rows, weights.data());
  // LLM.int8() rounds (code * scale) / 127, we code * (scale / 127): two
  // roundings each.
  const bool reordered = module_.scheme.scale_unit != 1;
  for (size_t i = 0; i < weights.size(); ++i) {
    const float weight = RoundToScaleType(expected->meta.type, weights[i]);
    if (reordered) {
      EXPECT_NEAR(weight, wanted[i], std::fabs(wanted[i]) * 0x1p-22f) << i;
    } else {
      EXPECT_EQ(weight, wanted[i]) << i;
    }
  }
}

TEST_P(ClientGoldens, PacksTheClientsBytes) {
  const WeightScheme& scheme = matrix_.scheme;
  ASSERT_TRUE(packing_->supports(scheme, module_.n_rows, module_.n_cols).ok());
  const std::vector<TensorMeta> metas = packing_->planes(
      scheme, module_.name, module_.n_rows, module_.n_cols, QuantType::kBF16);
  const auto planes = packing_->pack(matrix_, QuantType::kBF16);
  ASSERT_TRUE(planes.ok()) << planes.status();
  ASSERT_EQ(planes->size(), metas.size());
  for (size_t i = 0; i < metas.size(); ++i) {
    const std::string& name = metas[i].name;
    const TensorView* theirs = source_->Find(name);
    ASSERT_NE(theirs, nullptr) << name;
    ASSERT_EQ(static_cast<int64_t>((*planes)[i].size()), metas[i].n_bytes());
    // JSON is spaced otherwise, a scale of the inputs is in another type, and
    // nested scales are quantized anew from those that were read.
    if (absl::StrContains(name, "quant_state") ||
        absl::EndsWith(name, ".input_scale") ||
        (scheme.nested_scales && absl::EndsWith(name, "absmax"))) {
      continue;
    }
    EXPECT_EQ(metas[i].type, theirs->meta.type) << name;
    EXPECT_EQ(metas[i].shape, theirs->meta.shape) << name;
    EXPECT_TRUE(std::equal((*planes)[i].begin(), (*planes)[i].end(),
                           theirs->data.begin(), theirs->data.end()))
        << name;
  }
}

TEST_P(ClientGoldens, NestsScalesAsTheClient) {
  const TensorView* scales = source_->Find("scales");
  if (scales == nullptr) {
    return;
  }
  const NestedScales nested = NestScales(Numbers(*scales));
  const TensorView* codes = source_->Find(module_.name + ".weight.absmax");
  ASSERT_EQ(nested.codes.size(), codes->data.size());
  int n_different = 0;
  for (size_t i = 0; i < nested.codes.size(); ++i) {
    const int distance = std::abs(nested.codes[i] - codes->data[i]);
    EXPECT_LE(distance, 1) << i;
    n_different += distance;
  }
  // The CPU library's table look-up errs in about one of a thousand.
  EXPECT_LE(n_different, 2);
  const std::vector<float> absmax =
      Numbers(*source_->Find(module_.name + ".weight.nested_absmax"));
  ASSERT_EQ(nested.absmax.size(), absmax.size());
  for (size_t i = 0; i < absmax.size(); ++i) {
    // The offset, which is subtracted, is a mean in another order.
    EXPECT_NEAR(nested.absmax[i], absmax[i], 1e-8f);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, ClientGoldens, testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace narrow
