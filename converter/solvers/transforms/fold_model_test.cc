// Scales folded into every group of every family leave the model what it was:
// the groups are right about who shares an input, the absorbers about what
// feeds it.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "calibration/model_runner.h"
#include "converter/solvers/transforms/fold_scales.h"
#include "formats/arch/checkpoint.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/arch/linear_groups.h"
#include "formats/base/float16.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

// All tensors as float32 in memory, to be changed before they are read.
class ChangedSource : public TensorSource {
 public:
  explicit ChangedSource(std::unique_ptr<TensorSource> inner)
      : inner_(std::move(inner)) {
    for (const TensorView& from : inner_->tensors()) {
      const size_t n = static_cast<size_t>(from.meta.n_elements());
      std::vector<float>& values = values_.emplace_back(n);
      for (size_t i = 0; i < n; ++i) {
        values[i] = Value(from, i);
      }
      TensorView view = from;
      view.meta.type = QuantType::kF32;
      view.data = absl::MakeConstSpan(
          reinterpret_cast<const uint8_t*>(values.data()), 4 * n);
      index_[view.meta.name] = views_.size();
      views_.push_back(view);
    }
  }

  std::vector<float>* Values(const std::string& name) {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &values_[it->second];
  }

  absl::Span<const TensorView> tensors() const override { return views_; }
  const TensorView* Find(absl::string_view name) const override {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? nullptr : &views_[it->second];
  }
  const Metadata& metadata() const override { return inner_->metadata(); }
  absl::string_view format() const override { return inner_->format(); }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  static float Value(const TensorView& view, size_t i) {
    if (view.meta.type == QuantType::kF32) {
      float value;
      std::memcpy(&value, view.data.data() + 4 * i, sizeof(value));
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, view.data.data() + 2 * i, sizeof(bits));
    return view.meta.type == QuantType::kF16 ? FloatFromF16(bits)
                                             : FloatFromBf16(bits);
  }

  std::unique_ptr<TensorSource> inner_;
  std::deque<std::vector<float>> values_;
  std::vector<TensorView> views_;
  std::map<std::string, size_t> index_;
};

// Random scales of 1/3 ... 3, one a class of columns.
std::vector<float> RandomScales(int64_t n_cols,
                                const std::vector<int32_t>& column_class,
                                std::mt19937* random) {
  std::uniform_real_distribution<float> uniform(-1.1f, 1.1f);
  std::vector<float> scales;
  for (int64_t j = 0; j < n_cols; ++j) {
    scales.push_back(std::exp(uniform(*random)));
  }
  std::vector<float> result = scales;
  for (size_t j = 0; j < column_class.size(); ++j) {
    result[j] = scales[static_cast<size_t>(column_class[j])];
  }
  return result;
}

void FoldGroup(const LinearGroup& group,
               const std::vector<ModelLinear>& linears, std::mt19937* random,
               ChangedSource* source) {
  const Absorber& absorber = group.absorber;
  const int64_t n_cols = linears[group.members[0]].n_cols;
  std::vector<float> scales =
      RandomScales(n_cols, absorber.row_of_column, random);
  std::vector<float>* values = source->Values(absorber.hf_name);
  ASSERT_NE(values, nullptr) << absorber.hf_name;
  if (absorber.kind == Absorber::Kind::kNorm) {
    FoldIntoNorm(absorber.norm_offset, QuantType::kF32, absl::MakeSpan(*values),
                 absl::MakeSpan(scales));
  } else {
    const int64_t n_in = source->Find(absorber.hf_name)->meta.n_cols();
    const std::vector<int32_t>& rows_of = absorber.row_of_column;
    const int64_t n_rows =
        rows_of.empty() ? n_cols
                        : *std::max_element(rows_of.begin(), rows_of.end()) + 1;
    const std::vector<float> rows = ScalesOfRows(scales, rows_of, n_rows);
    DivideRows(rows, n_in, values->data() + absorber.first_row * n_in);
    std::vector<float>* bias = source->Values(
        absl::StrReplaceAll(absorber.hf_name, {{".weight", ".bias"}}));
    if (bias != nullptr) {
      DivideRows(rows, 1, bias->data() + absorber.first_row);
    }
  }
  for (const size_t member : group.members) {
    ScaleColumns(scales, linears[member].n_rows,
                 source->Values(linears[member].hf_name)->data());
  }
}

// Final hidden states for some tokens; `fold` with scales in all groups.
std::vector<float> HiddenOf(const std::string& folder, bool fold,
                            int* n_folded) {
  CheckpointOptions options;
  options.intermediate = "exact";
  options.skip_tokenizer = true;
  options.wrap_source = [&](std::unique_ptr<TensorSource> inner) {
    auto source = std::make_unique<ChangedSource>(std::move(inner));
    auto hf = HfConfig::Read(folder);
    const ArchSpec* spec = FindArchByHfName((*hf)->architecture());
    auto config = ModelConfigFromHf(**hf, *spec);
    auto linears = FindLinears(*source, *spec, *config, **hf);
    EXPECT_TRUE(linears.ok()) << linears.status();
    std::mt19937 random(99);
    for (int layer = 0; fold && layer < config->n_layers; ++layer) {
      for (const LinearGroup& group :
           GroupsOfBlock(*linears, *spec, *config, layer)) {
        if (group.absorber.kind != Absorber::Kind::kNone) {
          FoldGroup(group, *linears, &random, source.get());
          ++*n_folded;
        }
      }
    }
    return source;
  };
  auto model = Checkpoint::Open(folder, options);
  EXPECT_TRUE(model.ok()) << model.status();
  RunnerOptions runner_options;
  runner_options.precision = Precision::kExact;
  runner_options.n_threads = 1;
  auto runner = ModelRunner::Create(model->get(), runner_options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 24; ++i) {
    ids.push_back(5 + 7 * i);
  }
  HiddenStates hidden;
  EXPECT_TRUE((*runner)->Embed(ids, 24, &hidden).ok());
  for (int64_t b = 0; b < (*runner)->n_blocks(); ++b) {
    EXPECT_TRUE((*runner)->RunBlock(b, nullptr, &hidden).ok());
  }
  EXPECT_TRUE((*runner)->FinalNorm(&hidden).ok());
  return hidden.values;
}

class FoldModelTest : public testing::TestWithParam<const char*> {};

TEST_P(FoldModelTest, ComputesTheSame) {
  const std::string folder = absl::StrCat("testdata/", GetParam());
  int n_folded = 0;
  const std::vector<float> plain = HiddenOf(folder, false, &n_folded);
  EXPECT_EQ(n_folded, 0);
  const std::vector<float> folded = HiddenOf(folder, true, &n_folded);
  // Two layers of four groups or more; stacked experts leave fewer.
  EXPECT_GE(n_folded, 4);
  ASSERT_EQ(plain.size(), folded.size());
  double worst = 0;
  double size = 0;
  bool differs = false;
  for (size_t i = 0; i < plain.size(); ++i) {
    worst = std::max(worst, std::fabs(double{plain[i]} - double{folded[i]}));
    size += double{plain[i]} * double{plain[i]};
    differs |= plain[i] != folded[i];
  }
  // Normed values are of size 1; two blocks of float32 products of 64 to 128
  // terms are good to about 1e-5, a wrong scale makes errors of size 1.
  EXPECT_LT(worst,
            3e-4 * (1 + std::sqrt(size / static_cast<double>(plain.size()))));
  EXPECT_TRUE(differs);
}

INSTANTIATE_TEST_SUITE_P(
    Models, FoldModelTest,
    testing::Values("arch/gemma2", "arch/gemma3_text", "arch/llama2",
                    "arch/llama3", "arch/mistral", "arch/mixtral", "arch/phi3",
                    "arch/qwen2", "arch/qwen3", "arch/qwen3_moe", "tiny-llama"),
    [](const testing::TestParamInfo<const char*>& info) {
      return absl::StrReplaceAll(info.param, {{"/", "_"}, {"-", "_"}});
    });

}  // namespace
}  // namespace narrow
