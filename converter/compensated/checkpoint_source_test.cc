// The forward pass over a checkpoint's matrices shown as GGUF has them is the
// forward pass over the checkpoint, bit for bit, in every family.

#include "converter/compensated/checkpoint_source.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calibration/model_runner.h"
#include "calibration/weights/weights.h"
#include "converter/compensated/embedding/stored_embedding.h"
#include "formats/overlay_source.h"
#include "gtest/gtest.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr const char* kFolders[] = {
    "testdata/arch/gemma2",    "testdata/arch/gemma3_text",
    "testdata/arch/llama2",    "testdata/arch/llama3",
    "testdata/arch/mistral",   "testdata/arch/mixtral",
    "testdata/arch/phi3",      "testdata/arch/qwen2",
    "testdata/arch/qwen3_moe", "testdata/arch/qwen3"};

class CheckpointSourceTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    auto opened = Checkpoint::Open(GetParam(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    model_ = *std::move(opened);
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : model_->tensors()) {
      if (tensor.meta.shape.size() > 1) {
        names.push_back(tensor.meta.name);
      }
    }
    auto overlay = std::make_unique<OverlaySource>(
        std::make_unique<CheckpointSource>(model_.get(), names), names);
    overlay_ = overlay.get();
    shown_ = Checkpoint::WithRows(*model_, std::move(overlay));
  }

  // Hidden states after all blocks, and logits.
  static std::vector<float> Run(const Checkpoint& model) {
    RunnerOptions options;
    options.precision = Precision::kReproducible;
    options.n_threads = 2;
    auto runner = ModelRunner::Create(&model, options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 48; ++i) {
      ids.push_back(i * 37 % 311);
    }
    HiddenStates hidden;
    EXPECT_TRUE((*runner)->Embed(ids, 24, &hidden).ok());
    for (int64_t b = 0; b < (*runner)->n_blocks(); ++b) {
      EXPECT_TRUE((*runner)->RunBlock(b, nullptr, &hidden).ok());
    }
    EXPECT_TRUE((*runner)->FinalNorm(&hidden).ok());
    std::vector<float> all = hidden.values;
    std::vector<float> logits(
        static_cast<size_t>(48 * (*runner)->vocab_size()));
    EXPECT_TRUE(
        (*runner)->Logits(hidden.values.data(), 48, logits.data()).ok());
    all.insert(all.end(), logits.begin(), logits.end());
    return all;
  }

  std::unique_ptr<Checkpoint> model_, shown_;
  OverlaySource* overlay_ = nullptr;
};

TEST_P(CheckpointSourceTest, ForwardPassHasTheSameBits) {
  EXPECT_EQ(Run(*shown_), Run(*model_));
}

TEST_P(CheckpointSourceTest, ReplacedRowsAreNotRounded) {
  const std::string name = "blk.0.attn_output.weight";
  const CheckpointTensor* tensor = model_->Find(name);
  ASSERT_NE(tensor, nullptr);
  std::vector<float> values(static_cast<size_t>(tensor->meta.n_elements()));
  ASSERT_TRUE(
      ReadRows(*model_, *tensor, 0, tensor->meta.n_rows(), values.data()).ok());
  const std::vector<float> before = Run(*model_);
  for (float& value : values) {
    value *= 1.0001f;  // no number of 16 bits
  }
  ASSERT_TRUE(overlay_->Replace(name, values).ok());
  std::vector<float> read(values.size());
  const CheckpointTensor* shown = shown_->Find(name);
  ASSERT_TRUE(
      ReadRows(*shown_, *shown, 0, shown->meta.n_rows(), read.data()).ok());
  EXPECT_EQ(read, values);
  EXPECT_NE(Run(*shown_), before);
  overlay_->Restore(name);
  EXPECT_EQ(Run(*shown_), before);
}

TEST_P(CheckpointSourceTest, AStoredEmbeddingIsWhatTheCodecDecodes) {
  PlannedTensor planned = {};
  planned.source = model_->Find("token_embd.weight");
  planned.meta = planned.source->meta;
  planned.meta.type = QuantType::kQ4_0;
  Plan plan;
  plan.tensors.push_back(planned);
  const PlannedTensor* found = FindEmbedding(plan);
  ASSERT_EQ(found, plan.tensors.data());
  const auto stored = WithStoredEmbedding(*model_, found, nullptr);
  const int64_t n_rows = planned.meta.n_rows(), n_cols = planned.meta.n_cols();
  std::vector<float> values(static_cast<size_t>(n_rows * n_cols));
  ASSERT_TRUE(
      ReadRows(*model_, *planned.source, 0, n_rows, values.data()).ok());
  const BlockCodec& codec = *FindCodec(planned.meta.type);
  std::vector<uint8_t> bytes(static_cast<size_t>(planned.meta.n_bytes()));
  codec.EncodeRows(values.data(), n_rows, n_cols, nullptr, bytes.data());
  codec.Decode(bytes.data(), n_rows * n_cols / codec.block, values.data());
  std::vector<float> row(static_cast<size_t>(n_cols));
  for (const int64_t r : {int64_t{0}, n_rows / 2, n_rows - 1}) {
    ASSERT_TRUE(ReadRows(*stored, *stored->Find(planned.source->meta.name), r,
                         1, row.data())
                    .ok());
    EXPECT_EQ(row, std::vector<float>(values.begin() + r * n_cols,
                                      values.begin() + (r + 1) * n_cols));
  }
  EXPECT_NE(Run(*stored), Run(*model_));

  plan.tensors[0].meta.type = planned.source->stored;
  EXPECT_EQ(FindEmbedding(plan), nullptr);
  plan.tensors[0].meta.type = QuantType::kF32;
  EXPECT_EQ(WithStoredEmbedding(*model_, FindEmbedding(plan), nullptr),
            nullptr);
}

INSTANTIATE_TEST_SUITE_P(Families, CheckpointSourceTest,
                         testing::ValuesIn(kFolders));

TEST(CheckpointSource, HasTheTensorsNamedAlone) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  const auto model = Checkpoint::Open("testdata/arch/llama3", options);
  ASSERT_TRUE(model.ok()) << model.status();
  const CheckpointSource source(model->get(),
                                {"blk.1.ffn_up.weight", "no.such.weight"});
  ASSERT_EQ(source.tensors().size(), 1u);
  EXPECT_EQ(source.Find("no.such.weight"), nullptr);
  const TensorView* view = source.Find("blk.1.ffn_up.weight");
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view->meta.type, QuantType::kF32);
  EXPECT_EQ(view->meta.shape, (*model)->Find(view->meta.name)->meta.shape);
}

}  // namespace
}  // namespace narrow
