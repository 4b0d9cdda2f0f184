#include "calibration/backward/device/gradient_places.h"

#include <algorithm>

#include "formats/base/status.h"

namespace narrow {
namespace {

// Hands out pieces of memory that begins at `base`; only counts where that is
// nullptr.
class Carver {
 public:
  explicit Carver(uint8_t* base) : base_(base) {}

  template <typename T>
  void Take(int64_t n, T** place) {
    constexpr int64_t kAlignment = 256;
    *place = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (n * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) /
             kAlignment * kAlignment;
    most_ = std::max(most_, used_);
  }
  int64_t used() const { return used_; }
  // What follows lies where something else does.
  void GoBackTo(int64_t used) { used_ = used; }
  int64_t most() const { return most_; }

 private:
  uint8_t* const base_;
  int64_t used_ = 0;
  int64_t most_ = 0;
};

int64_t QkvWidth(const ModelConfig& c) {
  return (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
}

// What the feed-forward half leaves as it is.
void TakeTrace(const ModelConfig& c, const ModelTensors& tensors,
               const GradientShape& shape, Carver* carver,
               DeviceAttentionTrace* to) {
  const int64_t n = shape.part_rows();
  if (!tensors.blocks.front().q_norm.empty()) {
    carver->Take(n * QkvWidth(c), &to->projected_qkv);
  }
  if (!tensors.blocks.front().post_attn_norm.empty()) {
    carver->Take(n * c.hidden_size, &to->output);
  }
  carver->Take(n * QkvWidth(c), &to->qkv);
  carver->Take(n * c.n_heads * c.head_dim, &to->attended);
}

void TakeAttention(const ModelConfig& c, const GradientShape& shape,
                   Carver* carver, GradientPlaces::Attention* to) {
  const int64_t n = shape.part_rows();
  carver->Take(n * c.hidden_size, &to->output);
  carver->Take(n * c.n_heads * c.head_dim, &to->attended);
  carver->Take(n * QkvWidth(c), &to->qkv);
  carver->Take(n * c.hidden_size, &to->normed);
  carver->Take(n, &to->norms);
  const int64_t rows =
      std::min(shape.window_tokens, shape.chunk_tokens) * c.n_heads;
  for (float** place : {&to->queries, &to->outputs, &to->sums}) {
    carver->Take(rows * c.head_dim, place);
  }
  carver->Take(rows * shape.window_tokens, &to->shares);
  carver->Take(rows * shape.window_tokens, &to->scores);
  if (c.attn_logit_softcap > 0) {
    carver->Take(rows * shape.window_tokens, &to->capped);
  }
}

int64_t InnerCols(const BlockTensors& block) {
  return block.has_experts ? block.expert_down.n_cols()
                           : block.down.weight.n_cols();
}

void TakeFeedForward(const ModelConfig& c, const ModelTensors& tensors,
                     const GradientShape& shape, Carver* carver,
                     GradientPlaces::FeedForward* to) {
  int64_t inner = 0;
  bool has_experts = false;
  for (const BlockTensors& block : tensors.blocks) {
    inner = std::max(inner, InnerCols(block));
    has_experts = has_experts || block.has_experts;
  }
  const int64_t n = shape.step_rows;
  for (float** place : {&to->normed, &to->outputs, &to->output_gradient,
                        &to->normed_gradient}) {
    carver->Take(n * c.hidden_size, place);
  }
  for (float** place :
       {&to->gates, &to->ups, &to->inner, &to->inner_gradient}) {
    carver->Take(n * inner, place);
  }
  carver->Take(2 * n * inner, &to->gate_up);
  carver->Take(n, &to->norms);
  if (has_experts) {
    carver->Take(n, &to->tokens);
    carver->Take(n, &to->weights);
    carver->Take(n, &to->dots);
    for (float** place : {&to->all_normed, &to->all_outputs, &to->all_sums,
                          &to->all_gradient}) {
      carver->Take(shape.n_rows() * c.hidden_size, place);
    }
    carver->Take(shape.n_rows() * c.n_experts, &to->router);
    carver->Take(c.n_experts * c.hidden_size, &to->router_matrix);
  }
}

void TakeLoss(const ModelConfig& c, const ModelTensors& tensors,
              const GradientShape& shape, Carver* carver,
              GradientPlaces::Loss* to) {
  const int64_t n = shape.loss_rows;
  const int64_t n_hidden = c.hidden_size;
  gradient_threads::LogitRows* const logits = &to->logits;
  logits->n_tokens = tensors.output.n_rows;
  carver->Take(n, &to->tokens);
  carver->Take(n, &to->labels);
  carver->Take(n * n_hidden, &to->normed);
  carver->Take(n * n_hidden, &to->products);
  carver->Take(n * n_hidden, &to->sums);
  carver->Take(n, &logits->tops);
  carver->Take(n * logits->n_parts(), &logits->part_tops);
  carver->Take(n * logits->n_parts(), &logits->part_sums);
  carver->Take(n, &to->draws);
  carver->Take(
      n * std::max(logits->n_tokens, gradient_threads::kDraws * n_hidden),
      &logits->logits);
  to->picked = logits->logits;
}

int64_t ShareOut(const ModelConfig& config, const ModelTensors& tensors,
                 const GradientShape& shape, uint8_t* base,
                 GradientPlaces* places) {
  Carver carver(base);
  carver.Take(shape.n_rows() * config.hidden_size, &places->input);
  carver.Take(shape.n_rows() * config.hidden_size, &places->gradient);
  const int64_t shared = carver.used();
  TakeLoss(config, tensors, shape, &carver, &places->loss);
  carver.GoBackTo(shared);
  TakeTrace(config, tensors, shape, &carver, &places->attention.trace);
  const int64_t halves = carver.used();
  TakeAttention(config, shape, &carver, &places->attention);
  carver.GoBackTo(halves);
  TakeFeedForward(config, tensors, shape, &carver, &places->feed_forward);
  return carver.most();
}

}  // namespace

absl::Status GradientMemory::Allocate(const Device& device,
                                      const ModelConfig& config,
                                      const ModelTensors& tensors,
                                      const GradientShape& shape) {
  memory_ = DeviceBuffer();
  shape_ = shape;
  const int64_t n_bytes = ShareOut(config, tensors, shape, nullptr, &places_);
  ASSIGN_OR_RETURN(memory_, device.Allocate(static_cast<size_t>(n_bytes),
                                            "the reverse pass"));
  ShareOut(config, tensors, shape, memory_.as<uint8_t>(), &places_);
  return absl::OkStatus();
}

}  // namespace narrow
