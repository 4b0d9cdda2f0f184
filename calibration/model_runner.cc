#include "calibration/model_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/attention_layer.h"
#include "calibration/device/device_runner.h"
#include "calibration/feed_forward.h"
#include "calibration/forward_context.h"
#include "calibration/output_head.h"
#include "calibration/runner_parts.h"
#include "calibration/weights/block_tensors.h"
#include "formats/base/status.h"
#include "kernels/cpu.h"

namespace narrow {
namespace {

class Runner : public ModelRunner {
 public:
  Runner(const Checkpoint* model, ModelTensors tensors, ProductType type,
         const RunnerOptions& options)
      : context_(model, type, options),
        tensors_(std::move(tensors)),
        attention_(&context_),
        feed_forward_(&context_),
        head_(&context_, tensors_.output) {}

  void ForgetWeights() override { context_.weights.Forget(); }

  int64_t n_blocks() const override { return config().n_layers; }
  int64_t hidden_size() const override { return config().hidden_size; }
  int64_t vocab_size() const override { return config().vocab_size; }

  absl::Status Embed(absl::Span<const int32_t> ids, int64_t window_tokens,
                     HiddenStates* hidden) override {
    return EmbedTokens(&context_, tensors_, ids, window_tokens, hidden);
  }
  absl::Status RunBlock(int64_t block, Observer* observer,
                        HiddenStates* hidden) override;
  absl::Status RunAttention(int64_t block, PartEnd end, Observer* observer,
                            HiddenStates* hidden) override;
  absl::Status RunFeedForward(int64_t block, PartEnd end, Observer* observer,
                              HiddenStates* hidden) override;
  absl::Status EndAttention(int64_t block, const float* inner,
                            HiddenStates* hidden) override;
  absl::Status EndFeedForward(int64_t block, const float* inner,
                              HiddenStates* hidden) override;
  InnerCols InnerColsOfBlock(int64_t block) const override {
    return InnerColsOf(tensors_.blocks[static_cast<size_t>(block)]);
  }
  BlockSites SitesOfBlock(int64_t block) const override {
    return SitesOf(tensors_.blocks[static_cast<size_t>(block)]);
  }
  absl::Status FinalNorm(HiddenStates* hidden) override {
    NormFinally(&context_, tensors_, hidden);
    return absl::OkStatus();
  }
  absl::Status Logits(const float* rows, int64_t n_rows,
                      float* logits) override {
    return head_.Logits(rows, n_rows, logits);
  }
  absl::Status LogProbs(const float* rows, int64_t n_rows,
                        const int32_t* targets, TokenScore* scores) override {
    return head_.LogProbs(rows, n_rows, targets, scores);
  }

 private:
  const ModelConfig& config() const { return context_.config(); }
  absl::Status CheckAttention(int64_t block, const HiddenStates& hidden);
  absl::Status CheckFeedForward(int64_t block, const HiddenStates& hidden);

  ForwardContext context_;
  const ModelTensors tensors_;
  AttentionLayer attention_;
  FeedForward feed_forward_;
  OutputHead head_;
  RopeTables ropes_;
};

absl::Status Runner::RunBlock(int64_t block, Observer* observer,
                              HiddenStates* hidden) {
  RETURN_IF_ERROR(RunAttention(block, PartEnd::kOutput, observer, hidden));
  return RunFeedForward(block, PartEnd::kOutput, observer, hidden);
}

absl::Status Runner::RunAttention(int64_t block, PartEnd end,
                                  Observer* observer, HiddenStates* hidden) {
  RETURN_IF_ERROR(ropes_.Prepare(config(), hidden->window_tokens));
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  const bool sliding = IsSliding(config(), block);
  RETURN_IF_ERROR(attention_.Run(tensors, sliding,
                                 sliding ? ropes_.local : ropes_.global, end,
                                 observer, hidden));
  return end != PartEnd::kOutput ? absl::OkStatus()
                                 : CheckAttention(block, *hidden);
}

absl::Status Runner::CheckAttention(int64_t block, const HiddenStates& hidden) {
  return CheckFinite(&context_, hidden,
                     absl::StrCat("the attention of blk.", block));
}

absl::Status Runner::CheckFeedForward(int64_t block,
                                      const HiddenStates& hidden) {
  return CheckFinite(&context_, hidden,
                     absl::StrCat("the feed-forward part of blk.", block));
}

absl::Status Runner::RunFeedForward(int64_t block, PartEnd end,
                                    Observer* observer, HiddenStates* hidden) {
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  RETURN_IF_ERROR(feed_forward_.Run(tensors, end, observer, hidden));
  return end != PartEnd::kOutput ? absl::OkStatus()
                                 : CheckFeedForward(block, *hidden);
}

absl::Status Runner::EndAttention(int64_t block, const float* inner,
                                  HiddenStates* hidden) {
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  RETURN_IF_ERROR(attention_.End(tensors, inner, hidden));
  return CheckAttention(block, *hidden);
}

absl::Status Runner::EndFeedForward(int64_t block, const float* inner,
                                    HiddenStates* hidden) {
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  RETURN_IF_ERROR(feed_forward_.EndDense(tensors, inner, hidden));
  return CheckFeedForward(block, *hidden);
}

ProductType TypeOf(Precision precision) {
  switch (precision) {
    case Precision::kExact:
      return ProductType::kF32;
    case Precision::kFast:
      return CpuHasBf16Products() ? ProductType::kBf16 : ProductType::kF32;
    case Precision::kReproducible:
      return ProductType::kReproducible;
  }
  return ProductType::kF32;
}

}  // namespace

absl::Status ModelRunner::CopyStates(const HiddenStates& hidden,
                                     float* values) {
  std::copy(hidden.values.begin(), hidden.values.end(), values);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Create(
    const Checkpoint* model, const RunnerOptions& options) {
  ASSIGN_OR_RETURN(ModelTensors tensors, FindRunnableTensors(*model));
  if (options.device.has_value()) {
    return NewDeviceRunner(model, std::move(tensors), options);
  }
  return std::unique_ptr<ModelRunner>(std::make_unique<Runner>(
      model, std::move(tensors), TypeOf(options.precision), options));
}

}  // namespace narrow
