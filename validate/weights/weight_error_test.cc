#include "validate/weights/weight_error.h"

#include <memory>
#include <string>
#include <vector>

#include "calibration/weights/weights.h"
#include "formats/overlay_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::IsEmpty;

constexpr char kModel[] = "testdata/tiny-llama";

std::unique_ptr<Checkpoint> Open(OverlaySource** overlay = nullptr,
                                 const std::string& name = "") {
  CheckpointOptions options;
  options.intermediate = "exact";
  options.skip_tokenizer = true;
  if (overlay != nullptr) {
    options.wrap_source = [=](std::unique_ptr<TensorSource> source) {
      auto wrapped = std::make_unique<OverlaySource>(
          std::move(source), std::vector<std::string>{name});
      *overlay = wrapped.get();
      return wrapped;
    };
  }
  auto model = Checkpoint::Open(kModel, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

TEST(CompareWeights, AModelEqualsItself) {
  const auto model = Open();
  const auto errors = CompareWeights(*model, *model, 2, nullptr);
  ASSERT_TRUE(errors.ok()) << errors.status();
  EXPECT_EQ(errors->all.squared_error, 0);
  EXPECT_FALSE(errors->rescaled);
  EXPECT_THAT(errors->not_compared, IsEmpty());
  ASSERT_FALSE(errors->layers.empty());
  EXPECT_EQ(errors->layers[0].name, "token_embd");
  EXPECT_EQ(errors->layers[1].name, "0");
  int64_t n_matrices = 0;
  for (const CheckpointTensor& tensor : model->tensors()) {
    n_matrices += tensor.meta.shape.size() > 1;
  }
  EXPECT_EQ(errors->tensors.size(), static_cast<size_t>(n_matrices));
}

// One matrix of layer 1 is a tenth too large: its relative error is 0.1, and
// the same bits come out for any number of threads.
TEST(CompareWeights, OneMatrixThatIsScaled) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  OverlaySource* overlay = nullptr;
  const auto candidate = Open(&overlay, name);
  const auto original = Open();
  const CheckpointTensor* tensor = original->Find("blk.1.ffn_up.weight");
  ASSERT_NE(tensor, nullptr);
  std::vector<float> values(
      static_cast<size_t>(tensor->meta.n_rows() * tensor->meta.n_cols()));
  ASSERT_TRUE(
      ReadRows(*original, *tensor, 0, tensor->meta.n_rows(), values.data())
          .ok());
  for (float& value : values) {
    value *= 1.1f;
  }
  ASSERT_TRUE(overlay->Replace(name, values).ok());
  const auto errors = CompareWeights(*original, *candidate, 1, nullptr);
  ASSERT_TRUE(errors.ok()) << errors.status();
  for (const TensorError& one : errors->tensors) {
    EXPECT_NEAR(one.sums.relative(),
                one.name == "blk.1.ffn_up.weight" ? 0.1 : 0, 1e-6)
        << one.name;
  }
  for (const LayerError& layer : errors->layers) {
    EXPECT_EQ(layer.sums.relative() > 0.01, layer.layer == 1) << layer.name;
  }
  const auto again = CompareWeights(*original, *candidate, 3, nullptr);
  EXPECT_EQ(again->all.squared_error, errors->all.squared_error);
}

// A norm that is no longer the original's: scales were folded into it.
TEST(CompareWeights, MovedScalesAreSeen) {
  const auto original = Open();
  CheckpointOptions options;
  options.intermediate = "exact";
  options.skip_tokenizer = true;
  class Zeroed : public TensorSource {
   public:
    explicit Zeroed(std::unique_ptr<TensorSource> inner)
        : inner_(std::move(inner)),
          tensors_(inner_->tensors().begin(), inner_->tensors().end()) {
      for (TensorView& view : tensors_) {
        if (view.meta.name == "model.layers.0.input_layernorm.weight") {
          zeros_.resize(view.data.size());
          view.data = zeros_;
          replaced_ = &view;
        }
      }
    }
    absl::Span<const TensorView> tensors() const override { return tensors_; }
    const TensorView* Find(absl::string_view name) const override {
      return name == replaced_->meta.name ? replaced_ : inner_->Find(name);
    }
    const Metadata& metadata() const override { return inner_->metadata(); }
    absl::string_view format() const override { return inner_->format(); }
    void Release(absl::Span<const uint8_t>) const override {}

   private:
    std::unique_ptr<TensorSource> inner_;
    std::vector<TensorView> tensors_;
    std::vector<uint8_t> zeros_;
    const TensorView* replaced_ = nullptr;
  };
  options.wrap_source = [](std::unique_ptr<TensorSource> source) {
    return std::make_unique<Zeroed>(std::move(source));
  };
  const auto candidate = Checkpoint::Open(kModel, options);
  ASSERT_TRUE(candidate.ok()) << candidate.status();
  const auto errors = CompareWeights(*original, **candidate, 1, nullptr);
  ASSERT_TRUE(errors.ok()) << errors.status();
  EXPECT_TRUE(errors->rescaled);
}

}  // namespace
}  // namespace narrow
