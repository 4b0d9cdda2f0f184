#include "calibration/model_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/attention_layer.h"
#include "calibration/block_tensors.h"
#include "calibration/feed_forward.h"
#include "calibration/forward_context.h"
#include "calibration/output_head.h"
#include "calibration/rope_table.h"
#include "calibration/weights.h"
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
                     HiddenStates* hidden) override;
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
  InnerCols InnerColsOfBlock(int64_t block) const override;
  BlockSites SitesOfBlock(int64_t block) const override;
  absl::Status FinalNorm(HiddenStates* hidden) override;
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
  absl::Status PrepareRope(int64_t window_tokens);
  absl::Status CheckAttention(int64_t block, const HiddenStates& hidden);
  absl::Status CheckFeedForward(int64_t block, const HiddenStates& hidden);

  ForwardContext context_;
  const ModelTensors tensors_;
  AttentionLayer attention_;
  FeedForward feed_forward_;
  OutputHead head_;
  RopeTable global_rope_, local_rope_;
};

absl::Status Runner::Embed(absl::Span<const int32_t> ids, int64_t window_tokens,
                           HiddenStates* hidden) {
  const int64_t n_ids = static_cast<int64_t>(ids.size());
  if (window_tokens <= 0 || n_ids % window_tokens != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(n_ids, " tokens are no whole windows of ", window_tokens));
  }
  for (int64_t i = 0; i < n_ids; ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", i % window_tokens, " of window ", i / window_tokens,
          " is number ", ids[i], ", the vocabulary has ", vocab_size()));
    }
  }
  const ScopedTimer timer(&context_.times->embed);
  hidden->n_windows = n_ids / window_tokens;
  hidden->window_tokens = window_tokens;
  hidden->hidden_size = hidden_size();
  hidden->values.resize(static_cast<size_t>(n_ids * hidden_size()));
  std::vector<absl::Status> results(ids.size());
  ForEachRow(&context_.pool, n_ids, [&](int64_t i) {
    float* row = hidden->values.data() + i * hidden_size();
    results[static_cast<size_t>(i)] =
        ReadRows(*context_.model, *tensors_.embedding, ids[i], 1, row);
    context_.rows.scale(row, config().embedding_scale, hidden_size(), row);
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  return CheckFinite(&context_, *hidden, "the token embedding");
}

absl::Status Runner::PrepareRope(int64_t window_tokens) {
  if (global_rope_.n_tokens == window_tokens) {
    return absl::OkStatus();
  }
  // The length may choose among divisors, so tables are of exactly one.
  ASSIGN_OR_RETURN(local_rope_,
                   MakeRopeTable(config(), /*local=*/true, window_tokens));
  ASSIGN_OR_RETURN(global_rope_,
                   MakeRopeTable(config(), /*local=*/false, window_tokens));
  return absl::OkStatus();
}

absl::Status Runner::RunBlock(int64_t block, Observer* observer,
                              HiddenStates* hidden) {
  RETURN_IF_ERROR(RunAttention(block, PartEnd::kOutput, observer, hidden));
  return RunFeedForward(block, PartEnd::kOutput, observer, hidden);
}

absl::Status Runner::RunAttention(int64_t block, PartEnd end,
                                  Observer* observer, HiddenStates* hidden) {
  RETURN_IF_ERROR(PrepareRope(hidden->window_tokens));
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  const bool sliding = IsSliding(config(), block);
  RETURN_IF_ERROR(attention_.Run(tensors, sliding,
                                 sliding ? local_rope_ : global_rope_, end,
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

ModelRunner::InnerCols Runner::InnerColsOfBlock(int64_t block) const {
  const BlockTensors& t = tensors_.blocks[static_cast<size_t>(block)];
  return {t.attn_output.weight.n_cols(),
          t.has_experts ? 0 : t.down.weight.n_cols()};
}

BlockSites Runner::SitesOfBlock(int64_t block) const {
  const BlockTensors& t = tensors_.blocks[static_cast<size_t>(block)];
  BlockSites sites;
  const auto add = [&](size_t site, const WeightRows& weight) {
    std::vector<std::string>& names = sites[site];
    // Parts of a fused tensor follow each other.
    if (names.empty() || names.back() != weight.name()) {
      names.push_back(weight.name());
    }
  };
  for (const LinearTensors* layer : {&t.q, &t.k, &t.v}) {
    add(0, layer->weight);
  }
  add(1, t.attn_output.weight);
  if (t.has_experts) {
    for (const WeightRows* weight : {&t.router, &t.expert_gate, &t.expert_up}) {
      add(2, *weight);
    }
    add(3, t.expert_down);
    return sites;
  }
  add(2, t.gate.weight);
  add(2, t.up.weight);
  add(3, t.down.weight);
  return sites;
}

absl::Status Runner::FinalNorm(HiddenStates* hidden) {
  const int64_t n_rows = hidden->n_windows * hidden->window_tokens;
  ForEachRow(&context_.pool, n_rows, [&](int64_t r) {
    float* row = hidden->values.data() + r * hidden_size();
    context_.rows.rms_norm(row, tensors_.output_norm.data(), hidden_size(),
                           config().norm_eps, row);
  });
  return absl::OkStatus();
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

// Combinations of sizes that the parts rely on.
absl::Status CheckConfig(const ModelConfig& c) {
  const auto error = [&](absl::string_view cause) {
    return absl::InvalidArgumentError(
        absl::StrCat("the configuration of this ", c.arch, " model: ", cause));
  };
  if (c.n_layers < 0 || c.hidden_size <= 0 || c.n_heads <= 0 ||
      c.n_kv_heads <= 0 || c.head_dim <= 0 || c.vocab_size <= 0) {
    return error("a size is not positive");
  }
  if (c.n_heads % c.n_kv_heads != 0) {
    return error(absl::StrCat(c.n_heads, " heads cannot share ", c.n_kv_heads,
                              " key-value heads"));
  }
  if (c.rope_dim <= 0 || c.rope_dim % 2 != 0 || c.rope_dim > c.head_dim) {
    return error(absl::StrCat(c.rope_dim, " rotated dimensions of heads of ",
                              c.head_dim));
  }
  if (c.n_experts > 0 &&
      (c.n_experts_used <= 0 || c.n_experts_used > c.n_experts ||
       c.expert_ffn_size <= 0)) {
    return error(absl::StrCat(c.n_experts_used, " of ", c.n_experts,
                              " experts of ", c.expert_ffn_size,
                              " inner columns"));
  }
  if (!(c.norm_eps >= 0) || !std::isfinite(c.attention_scale)) {
    return error("norm_eps or the attention scale is no usable number");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Create(
    const Checkpoint* model, const RunnerOptions& options) {
  if (model->arch() == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        "no forward pass for models of family '", model->config().arch,
        "'; known are ", KnownArchNames(), "; reading ", model->path()));
  }
  absl::Status checked = CheckConfig(model->config());
  if (checked.ok()) {
    // Shows that the rotary configuration is usable.
    checked = MakeRopeTable(model->config(), /*local=*/false, 1).status();
  }
  RETURN_IF_ERROR(Annotate(checked, absl::StrCat("reading ", model->path())));
  ASSIGN_OR_RETURN(ModelTensors tensors, FindModelTensors(*model));
  return std::unique_ptr<ModelRunner>(std::make_unique<Runner>(
      model, std::move(tensors), TypeOf(options.precision), options));
}

}  // namespace narrow
