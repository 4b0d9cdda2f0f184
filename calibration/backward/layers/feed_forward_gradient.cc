#include "calibration/backward/layers/feed_forward_gradient.h"

#include <algorithm>
#include <memory>

#include "calibration/backward/layers/row_gradients.h"
#include "calibration/linear.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// The rows of a step's expert in a stacked tensor.
WeightRows OfExpert(const WeightRows& stacked, int expert) {
  return {stacked.tensor, expert * stacked.n_rows, stacked.n_rows};
}

double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

}  // namespace

void RouterSoftmaxGradient(const float* shares, int64_t n, float* gradient) {
  const double mean = Dot(shares, gradient, n);
  for (int64_t e = 0; e < n; ++e) {
    gradient[e] = static_cast<float>(static_cast<double>(shares[e]) *
                                     (static_cast<double>(gradient[e]) - mean));
  }
}

void RouterSoftmax(int64_t n, float* row) {
  const double top = *std::max_element(row, row + n);
  double total = 0;
  for (int64_t e = 0; e < n; ++e) {
    total += Exp(static_cast<double>(row[e]) - top);
  }
  for (int64_t e = 0; e < n; ++e) {
    row[e] = static_cast<float>(Exp(static_cast<double>(row[e]) - top) / total);
  }
}

class FeedForwardGradient::Dense : public FeedForwardTrace {
 public:
  Dense(FeedForwardGradient* owner, const BlockTensors& block,
        const HiddenStates& input, GradientObserver* observer, float* gradient)
      : owner_(owner),
        block_(block),
        input_(input),
        observer_(observer),
        gradient_(gradient) {}

  absl::Status OnRouter(int64_t, int64_t, const float*) override {
    return absl::InternalError("a dense layer has no router");
  }

  absl::Status OnStep(const FeedForwardStep& step) override {
    const ModelConfig& c = owner_->context_->config();
    const int64_t n_hidden = c.hidden_size;
    float* gradient = gradient_ + step.first_token * n_hidden;
    owner_->output_.assign(gradient, gradient + step.n_rows * n_hidden);
    if (!block_.post_ffn_norm.empty()) {
      ForEachRow(&owner_->context_->pool, step.n_rows, [&](int64_t r) {
        RmsNormGradient(step.outputs + r * n_hidden,
                        block_.post_ffn_norm.data(), n_hidden, c.norm_eps,
                        owner_->output_.data() + r * n_hidden);
      });
    }
    RETURN_IF_ERROR(owner_->BackStep(block_, step, observer_));
    ForEachRow(&owner_->context_->pool, step.n_rows, [&](int64_t r) {
      owner_->AddNormGradient(block_, input_.row(0, step.first_token + r),
                              owner_->normed_.data() + r * n_hidden,
                              gradient + r * n_hidden);
    });
    return absl::OkStatus();
  }

 private:
  FeedForwardGradient* const owner_;
  const BlockTensors& block_;
  const HiddenStates& input_;
  GradientObserver* const observer_;
  float* const gradient_;
};

// What all experts give together, where a norm follows.
class FeedForwardGradient::ExpertSums : public FeedForwardTrace {
 public:
  ExpertSums(ForwardContext* context, int64_t n_rows)
      : context_(context),
        n_hidden_(context->config().hidden_size),
        values_(static_cast<size_t>(n_rows * n_hidden_)) {}

  const float* row(int64_t r) const { return values_.data() + r * n_hidden_; }

  absl::Status OnRouter(int64_t, int64_t, const float*) override {
    return absl::OkStatus();
  }
  absl::Status OnStep(const FeedForwardStep& step) override {
    ForEachRow(&context_->pool, step.n_rows, [&](int64_t r) {
      context_->rows.add_scaled(step.outputs + r * n_hidden_,
                                step.weights[static_cast<size_t>(r)], n_hidden_,
                                values_.data() + step.token(r) * n_hidden_);
    });
    return absl::OkStatus();
  }

 private:
  ForwardContext* const context_;
  const int64_t n_hidden_;
  std::vector<float> values_;
};

class FeedForwardGradient::Experts : public FeedForwardTrace {
 public:
  // `outputs`: gradients at what the experts give together.
  Experts(FeedForwardGradient* owner, const BlockTensors& block,
          GradientObserver* observer, int64_t n_rows, const float* outputs)
      : owner_(owner),
        block_(block),
        observer_(observer),
        n_rows_(n_rows),
        n_experts_(owner->context_->config().n_experts),
        n_hidden_(owner->context_->config().hidden_size),
        outputs_(outputs),
        shares_(static_cast<size_t>(n_rows * n_experts_)),
        router_(shares_.size()),
        normed_(static_cast<size_t>(n_rows * n_hidden_)) {}

  float* normed(int64_t r) { return normed_.data() + r * n_hidden_; }

  absl::Status OnRouter(int64_t first_token, int64_t n_rows,
                        const float* logits) override {
    // Rescaled weights are known from the steps.
    if (!owner_->context_->config().norm_topk_prob) {
      ForEachRow(&owner_->context_->pool, n_rows, [&](int64_t r) {
        float* row = shares_.data() + (first_token + r) * n_experts_;
        std::copy_n(logits + r * n_experts_, n_experts_, row);
        RouterSoftmax(n_experts_, row);
      });
    }
    return absl::OkStatus();
  }

  absl::Status OnStep(const FeedForwardStep& step) override {
    owner_->output_.resize(static_cast<size_t>(step.n_rows * n_hidden_));
    ForEachRow(&owner_->context_->pool, step.n_rows, [&](int64_t r) {
      const float weight = step.weights[static_cast<size_t>(r)];
      const int64_t at = step.token(r) * n_experts_ + step.expert;
      const float* output = outputs_ + step.token(r) * n_hidden_;
      router_[static_cast<size_t>(at)] = static_cast<float>(
          Dot(output, step.outputs + r * n_hidden_, n_hidden_));
      if (owner_->context_->config().norm_topk_prob) {
        shares_[static_cast<size_t>(at)] = weight;
      }
      owner_->context_->rows.scale(output, weight, n_hidden_,
                                   owner_->output_.data() + r * n_hidden_);
    });
    RETURN_IF_ERROR(owner_->BackStep(block_, step, observer_));
    ForEachRow(&owner_->context_->pool, step.n_rows, [&](int64_t r) {
      owner_->context_->rows.add_scaled(owner_->normed_.data() + r * n_hidden_,
                                        1, n_hidden_, normed(step.token(r)));
    });
    return absl::OkStatus();
  }

  // Adds what goes through the router; after the last step.
  absl::Status AddRouter() {
    ForwardContext* context = owner_->context_;
    ForEachRow(&context->pool, n_rows_, [&](int64_t r) {
      RouterSoftmaxGradient(shares_.data() + r * n_experts_, n_experts_,
                            router_.data() + r * n_experts_);
    });
    FeedForwardStep all;
    all.n_rows = n_rows_;
    RETURN_IF_ERROR(owner_->ObserveStep(all, block_.router, router_.data(),
                                        n_experts_, n_experts_,
                                        /*input_norms=*/nullptr, observer_));
    ASSIGN_OR_RETURN(const auto weights,
                     owner_->weights_->Get({&block_.router, 1}));
    Gemm(&context->pool, Update::kAdd, n_rows_, n_hidden_, n_experts_,
         router_.data(), n_experts_, weights->values.data(), n_hidden_,
         normed_.data(), n_hidden_);
    return absl::OkStatus();
  }

 private:
  FeedForwardGradient* const owner_;
  const BlockTensors& block_;
  GradientObserver* const observer_;
  const int64_t n_rows_, n_experts_, n_hidden_;
  const float* const outputs_;
  std::vector<float> shares_;  // [n_rows, n_experts]
  std::vector<float> router_;  // gradients at the experts' weights
  std::vector<float> normed_;  // gradients at the half's normed input
};

absl::Status FeedForwardGradient::Run(const BlockTensors& block,
                                      const HiddenStates& input,
                                      GradientObserver* observer,
                                      float* gradient) {
  if (!block.has_experts) {
    Dense dense(this, block, input, observer, gradient);
    return layer_.Trace(block, input, &dense);
  }
  const int64_t n_hidden = input.hidden_size;
  const int64_t n_rows = input.n_windows * input.window_tokens;
  std::vector<float> outputs(gradient, gradient + n_rows * n_hidden);
  if (!block.post_ffn_norm.empty()) {
    ExpertSums sums(context_, n_rows);
    RETURN_IF_ERROR(layer_.Trace(block, input, &sums));
    ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
      RmsNormGradient(sums.row(r), block.post_ffn_norm.data(), n_hidden,
                      context_->config().norm_eps,
                      outputs.data() + r * n_hidden);
    });
  }
  Experts experts(this, block, observer, n_rows, outputs.data());
  RETURN_IF_ERROR(layer_.Trace(block, input, &experts));
  RETURN_IF_ERROR(experts.AddRouter());
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    AddNormGradient(block, input.row(0, r), experts.normed(r),
                    gradient + r * n_hidden);
  });
  return absl::OkStatus();
}

absl::Status FeedForwardGradient::BackStep(const BlockTensors& block,
                                           const FeedForwardStep& step,
                                           GradientObserver* observer) {
  const bool expert = step.expert >= 0;
  const WeightRows down =
      expert ? OfExpert(block.expert_down, step.expert) : block.down.weight;
  const WeightRows parts[] = {
      expert ? OfExpert(block.expert_gate, step.expert) : block.gate.weight,
      expert ? OfExpert(block.expert_up, step.expert) : block.up.weight};
  const int64_t n_hidden = context_->config().hidden_size;
  const int64_t n_inner = down.n_cols();
  const int64_t n_rows = step.n_rows;
  const std::vector<float> norms = InputNorms(step, n_inner);
  RETURN_IF_ERROR(ObserveStep(step, down, output_.data(), n_hidden, n_hidden,
                              norms.data(), observer));
  {
    ASSIGN_OR_RETURN(const auto weights, weights_->Get({&down, 1}));
    inner_.resize(static_cast<size_t>(n_rows * n_inner));
    Gemm(&context_->pool, Update::kSet, n_rows, n_inner, n_hidden,
         output_.data(), n_hidden, weights->values.data(), n_inner,
         inner_.data(), n_inner);
  }
  gate_up_.resize(static_cast<size_t>(n_rows * 2 * n_inner));
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    float* row = gate_up_.data() + r * 2 * n_inner;
    GateGradient(context_->rows, context_->traits().activation,
                 step.gates + r * n_inner, step.ups + r * n_inner,
                 inner_.data() + r * n_inner, n_inner, row, row + n_inner);
  });
  // A fused tensor holds gates, then ups, as a row of gate_up_ does.
  const bool fused = !expert && parts[0].tensor == parts[1].tensor;
  RETURN_IF_ERROR(ObserveStep(step, parts[0], gate_up_.data(),
                              fused ? 2 * n_inner : n_inner, 2 * n_inner,
                              /*input_norms=*/nullptr, observer));
  if (!fused) {
    RETURN_IF_ERROR(ObserveStep(step, parts[1], gate_up_.data() + n_inner,
                                n_inner, 2 * n_inner,
                                /*input_norms=*/nullptr, observer));
  }
  ASSIGN_OR_RETURN(const auto weights, weights_->Get(parts));
  normed_.resize(static_cast<size_t>(n_rows * n_hidden));
  Gemm(&context_->pool, Update::kSet, n_rows, n_hidden, 2 * n_inner,
       gate_up_.data(), 2 * n_inner, weights->values.data(), n_hidden,
       normed_.data(), n_hidden);
  return absl::OkStatus();
}

// Of what the last matrix saw, for which inner_ is used.
std::vector<float> FeedForwardGradient::InputNorms(const FeedForwardStep& step,
                                                   int64_t n_inner) {
  const auto gate =
      context_->traits().activation == BlockTraits::Activation::kSilu
          ? context_->rows.gate_silu
          : context_->rows.gate_gelu;
  inner_.resize(static_cast<size_t>(step.n_rows * n_inner));
  ForEachRow(&context_->pool, step.n_rows, [&](int64_t r) {
    gate(step.gates + r * n_inner, step.ups + r * n_inner, n_inner,
         inner_.data() + r * n_inner);
  });
  return RowNorms(&context_->pool, inner_.data(), step.n_rows, n_inner);
}

absl::Status FeedForwardGradient::ObserveStep(
    const FeedForwardStep& step, const WeightRows& layer, const float* rows,
    int64_t n_cols, int64_t stride, const float* input_norms,
    GradientObserver* observer) const {
  if (observer == nullptr) {
    return absl::OkStatus();
  }
  LayerGradient shown;
  shown.name = layer.name();
  shown.expert = step.expert;
  shown.rows = rows;
  shown.n_rows = step.n_rows;
  shown.n_cols = n_cols;
  shown.stride = stride;
  shown.input_norms = input_norms;
  shown.first_token = step.first_token;
  shown.tokens = step.tokens;
  return observer->OnGradient(shown);
}

void FeedForwardGradient::AddNormGradient(const BlockTensors& block,
                                          const float* input, float* normed,
                                          float* gradient) const {
  const int64_t n_hidden = context_->config().hidden_size;
  RmsNormGradient(input, block.ffn_norm.data(), n_hidden,
                  context_->config().norm_eps, normed);
  context_->rows.add_scaled(normed, 1, n_hidden, gradient);
}

}  // namespace narrow
