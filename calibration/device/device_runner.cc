#include "calibration/device/device_runner.h"

#include <functional>
#include <utility>
#include <vector>

#include "calibration/device/device_attention_layer.h"
#include "calibration/device/device_context.h"
#include "calibration/device/device_feed_forward.h"
#include "calibration/device/device_observing.h"
#include "calibration/device/device_output_head.h"
#include "calibration/runner_parts.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

class DeviceRunner : public ModelRunner {
 public:
  DeviceRunner(std::shared_ptr<const ModelTensors> tensors,
               std::shared_ptr<DeviceContext> context)
      : tensors_(std::move(tensors)),
        context_(std::move(context)),
        observing_(context_.get()),
        attention_(context_.get()),
        feed_forward_(context_.get()),
        head_(context_.get(), tensors_->output) {}

  void ForgetWeights() override {
    feed_forward_.Forget();
    // An error of what is under way is that of the next request.
    forgotten_ = context_->weights()->Forget();
  }

  void Note(absl::string_view text) const override { context_->Note(text); }

  int64_t n_blocks() const override { return config().n_layers; }
  int64_t hidden_size() const override { return config().hidden_size; }
  int64_t vocab_size() const override { return config().vocab_size; }

  absl::Status Embed(absl::Span<const int32_t> ids, int64_t window_tokens,
                     HiddenStates* hidden) override {
    hidden->on_device = DeviceBuffer();
    RETURN_IF_ERROR(
        EmbedTokens(context_->host(), *tensors_, ids, window_tokens, hidden));
    return context_->Move(hidden);
  }
  absl::Status Fetch(HiddenStates* hidden) override {
    return context_->Fetch(hidden);
  }
  absl::Status CopyStates(const HiddenStates& hidden, float* values) override {
    if (hidden.on_device.data() == nullptr) {
      return ModelRunner::CopyStates(hidden, values);
    }
    return context_->ToHost(hidden.on_device.data(),
                            static_cast<int64_t>(hidden.on_device.n_bytes()),
                            values, "hidden states");
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
    return InnerColsOf(tensors(block));
  }
  BlockSites SitesOfBlock(int64_t block) const override {
    return SitesOf(tensors(block));
  }
  absl::Status FinalNorm(HiddenStates* hidden) override {
    RETURN_IF_ERROR(context_->Fetch(hidden));
    NormFinally(context_->host(), *tensors_, hidden);
    return absl::OkStatus();
  }
  absl::Status Logits(const float* rows, int64_t n_rows,
                      float* logits) override {
    return head_.Logits(rows, n_rows, logits);
  }
  absl::Status LogitsOnDevice(const float* rows, int64_t n_rows,
                              DeviceLogits* logits) override {
    return head_.LogitsOnDevice(rows, n_rows, logits);
  }
  const Device* device() const override { return &context_->device(); }
  absl::Status LogProbs(const float* rows, int64_t n_rows,
                        const int32_t* targets, TokenScore* scores) override {
    return head_.LogProbs(rows, n_rows, targets, scores);
  }

 private:
  using Matrices = absl::Span<const DeviceMatrix>;

  const ModelConfig& config() const { return context_->config(); }
  const BlockTensors& tensors(int64_t block) const {
    return tensors_->blocks[static_cast<size_t>(block)];
  }
  // Calls body with the block's matrices, and none where they are not
  // `needed`, hidden states being on the device.
  absl::Status WithBlock(int64_t block, bool needed, HiddenStates* hidden,
                         const std::function<absl::Status(Matrices)>& body);
  absl::Status Attention(int64_t block, Matrices matrices, PartEnd end,
                         HiddenStates* hidden);
  absl::Status PrepareRope(int64_t window_tokens);

  const std::shared_ptr<const ModelTensors> tensors_;
  const std::shared_ptr<DeviceContext> context_;
  DeviceObserving observing_;
  DeviceAttentionLayer attention_;
  DeviceFeedForward feed_forward_;
  DeviceOutputHead head_;
  absl::Status forgotten_;
  RopeTables ropes_;
  int64_t rope_tokens_ = 0;   // of the angles on the device
  DeviceBuffer rope_memory_;  // cosines and sines of all, then of the sliding
};

absl::Status DeviceRunner::PrepareRope(int64_t window_tokens) {
  if (rope_tokens_ == window_tokens) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ropes_.Prepare(config(), window_tokens));
  std::vector<float> all;
  for (const RopeTable* table : {&ropes_.global, &ropes_.local}) {
    all.insert(all.end(), table->cosines.begin(), table->cosines.end());
    all.insert(all.end(), table->sines.begin(), table->sines.end());
  }
  const size_t n_bytes = all.size() * sizeof(float);
  rope_tokens_ = 0;
  rope_memory_ = DeviceBuffer();
  ASSIGN_OR_RETURN(rope_memory_,
                   context_->device().Allocate(n_bytes, "rotary angles"));
  RETURN_IF_ERROR(context_->ToDevice(all.data(), static_cast<int64_t>(n_bytes),
                                     rope_memory_.data(), "rotary angles"));
  rope_tokens_ = window_tokens;
  return absl::OkStatus();
}

absl::Status DeviceRunner::WithBlock(
    int64_t block, bool needed, HiddenStates* hidden,
    const std::function<absl::Status(Matrices)>& body) {
  RETURN_IF_ERROR(forgotten_);
  RETURN_IF_ERROR(context_->Move(hidden));
  if (!needed) {
    return body({});
  }
  DeviceStream* const stream = context_->stream();
  Matrices matrices;
  {
    const ScopedTimer timer(&context_->host()->times->weights);
    ASSIGN_OR_RETURN(matrices, context_->weights()->Acquire(block, stream));
  }
  const absl::Status status = body(matrices);
  const absl::Status released = context_->weights()->Release(block, stream);
  return status.ok() ? released : status;
}

absl::Status DeviceRunner::Attention(int64_t block, Matrices matrices,
                                     PartEnd end, HiddenStates* hidden) {
  RETURN_IF_ERROR(PrepareRope(hidden->window_tokens));
  const int64_t n = static_cast<int64_t>(ropes_.global.cosines.size());
  const float* angles = rope_memory_.as<float>();
  if (IsSliding(config(), block)) {
    angles += 2 * n;
  }
  return attention_.Run(block, tensors(block), matrices,
                        {angles, angles + n, ropes_.global.n_pairs}, end,
                        &observing_, hidden);
}

absl::Status DeviceRunner::RunBlock(int64_t block, Observer* observer,
                                    HiddenStates* hidden) {
  return WithBlock(block, true, hidden, [&](Matrices matrices) {
    observing_.Begin(observer, hidden);
    RETURN_IF_ERROR(Attention(block, matrices, PartEnd::kOutput, hidden));
    return feed_forward_.Run(block, tensors(block), matrices, PartEnd::kOutput,
                             &observing_, hidden);
  });
}

absl::Status DeviceRunner::RunAttention(int64_t block, PartEnd end,
                                        Observer* observer,
                                        HiddenStates* hidden) {
  return WithBlock(block, end != PartEnd::kInput, hidden,
                   [&](Matrices matrices) {
                     observing_.Begin(observer, hidden);
                     return Attention(block, matrices, end, hidden);
                   });
}

absl::Status DeviceRunner::RunFeedForward(int64_t block, PartEnd end,
                                          Observer* observer,
                                          HiddenStates* hidden) {
  return WithBlock(block, end != PartEnd::kInput, hidden,
                   [&](Matrices matrices) {
                     observing_.Begin(observer, hidden);
                     return feed_forward_.Run(block, tensors(block), matrices,
                                              end, &observing_, hidden);
                   });
}

absl::Status DeviceRunner::EndAttention(int64_t block, const float* inner,
                                        HiddenStates* hidden) {
  return WithBlock(block, true, hidden, [&](Matrices matrices) {
    return attention_.End(block, tensors(block), matrices, inner, hidden);
  });
}

absl::Status DeviceRunner::EndFeedForward(int64_t block, const float* inner,
                                          HiddenStates* hidden) {
  return WithBlock(block, true, hidden, [&](Matrices matrices) {
    return feed_forward_.EndDense(block, tensors(block), matrices, inner,
                                  hidden);
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> NewDeviceRunner(
    const Checkpoint* model, ModelTensors tensors,
    const RunnerOptions& options) {
  // Vectors are known by where they lie.
  auto kept = std::make_unique<const ModelTensors>(std::move(tensors));
  ASSIGN_OR_RETURN(auto context,
                   DeviceContext::Create(model, kept.get(), options));
  return NewDeviceRunner(std::move(kept), std::move(context));
}

std::unique_ptr<ModelRunner> NewDeviceRunner(
    std::shared_ptr<const ModelTensors> tensors,
    std::shared_ptr<DeviceContext> context) {
  return std::make_unique<DeviceRunner>(std::move(tensors), std::move(context));
}

}  // namespace narrow
