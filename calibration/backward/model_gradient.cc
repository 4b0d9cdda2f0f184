// Tested by: model_gradient_test.

#include "calibration/backward/model_gradient.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/attention_layer.h"
#include "calibration/backward/device/device_gradient.h"
#include "calibration/backward/layers/attention_gradient.h"
#include "calibration/backward/layers/decoded_weights.h"
#include "calibration/backward/layers/feed_forward_gradient.h"
#include "calibration/backward/layers/loss_gradient.h"
#include "calibration/forward_context.h"
#include "calibration/rope_table.h"
#include "calibration/runner_parts.h"
#include "calibration/weights/block_tensors.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Angles of layers with and without a sliding window, and the opposite ones.
struct RopePair {
  RopeTable forward, transposed;
};

RopePair WithTransposed(RopeTable table) {
  RopePair pair = {table, std::move(table)};
  for (float& sine : pair.transposed.sines) {
    sine = -sine;
  }
  return pair;
}

RunnerOptions OptionsOf(const GradientOptions& options) {
  RunnerOptions runner;
  runner.precision = Precision::kReproducible;
  runner.n_threads = options.n_threads;
  // The other half is for plain rows.
  runner.max_cached_bytes = options.max_cached_bytes / 2;
  return runner;
}

class Gradient : public ModelGradient {
 public:
  Gradient(const Checkpoint* model, std::unique_ptr<ModelRunner> runner,
           ModelTensors tensors, const GradientOptions& options)
      : runner_(std::move(runner)),
        context_(model, ProductType::kReproducible, OptionsOf(options)),
        tensors_(std::move(tensors)),
        weights_(model, &context_.pool, options.max_cached_bytes / 2),
        layer_(&context_),
        attention_(&context_, &weights_),
        feed_forward_(&context_, &weights_),
        loss_(&context_, &weights_, &tensors_, options.seed) {}

  ModelRunner* runner() override { return runner_.get(); }
  ThreadPool* pool() override { return &context_.pool; }
  int64_t n_blocks() const override { return runner_->n_blocks(); }
  void ForgetWeights() override {
    runner_->ForgetWeights();
    context_.weights.Forget();
    weights_.Forget();
  }

  absl::Status Loss(const HiddenStates& hidden, const uint8_t* counts,
                    int64_t first_token, int32_t* labels, float* gradient,
                    double* total, GradientObserver* observer) override {
    return loss_.Run(hidden, counts, first_token, labels, gradient, total,
                     observer);
  }
  absl::Status Block(int64_t block, const HiddenStates& input,
                     GradientObserver* observer, float* gradient) override;

 private:
  absl::Status PrepareRope(int64_t window_tokens);

  const std::unique_ptr<ModelRunner> runner_;
  ForwardContext context_;
  const ModelTensors tensors_;
  DecodedWeights weights_;
  AttentionLayer layer_;
  AttentionGradient attention_;
  FeedForwardGradient feed_forward_;
  LossGradient loss_;
  RopePair global_rope_, local_rope_;
  // Of the block in work.
  AttentionTrace trace_;
  HiddenStates middle_;  // between attention and feed-forward
};

absl::Status Gradient::PrepareRope(int64_t window_tokens) {
  if (global_rope_.forward.n_tokens == window_tokens) {
    return absl::OkStatus();
  }
  const ModelConfig& config = context_.config();
  ASSIGN_OR_RETURN(RopeTable local,
                   MakeRopeTable(config, /*local=*/true, window_tokens));
  ASSIGN_OR_RETURN(RopeTable global,
                   MakeRopeTable(config, /*local=*/false, window_tokens));
  local_rope_ = WithTransposed(std::move(local));
  global_rope_ = WithTransposed(std::move(global));
  return absl::OkStatus();
}

absl::Status Gradient::Block(int64_t block, const HiddenStates& input,
                             GradientObserver* observer, float* gradient) {
  RETURN_IF_ERROR(PrepareRope(input.window_tokens));
  const BlockTensors& tensors = tensors_.blocks[static_cast<size_t>(block)];
  const bool sliding = IsSliding(context_.config(), block);
  const RopePair& rope = sliding ? local_rope_ : global_rope_;
  trace_.Clear();
  middle_ = input;
  RETURN_IF_ERROR(layer_.Run(tensors, sliding, rope.forward, PartEnd::kOutput,
                             /*observer=*/nullptr, &middle_, &trace_));
  RETURN_IF_ERROR(feed_forward_.Run(tensors, middle_, observer, gradient));
  RETURN_IF_ERROR(attention_.Run(tensors, sliding, rope.transposed, input,
                                 trace_, observer, gradient));
  const int64_t n_rows = input.n_windows * input.window_tokens;
  FirstRow bad;
  ForEachRow(&context_.pool, n_rows, [&](int64_t r) {
    if (!context_.rows.all_finite(gradient + r * input.hidden_size,
                                  input.hidden_size)) {
      bad.Note(r);
    }
  });
  if (bad.found()) {
    return NotFinite(*context_.model,
                     absl::StrCat("the gradient at the input of blk.", block),
                     input.first_window + bad.row() / input.window_tokens,
                     bad.row() % input.window_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelGradient>> ModelGradient::Create(
    const Checkpoint* model, const GradientOptions& options) {
  if (options.device.has_value()) {
    ASSIGN_OR_RETURN(ModelTensors tensors, FindRunnableTensors(*model));
    return NewDeviceGradient(model, std::move(tensors), options);
  }
  // Checks the configuration too.
  ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                   ModelRunner::Create(model, OptionsOf(options)));
  ASSIGN_OR_RETURN(ModelTensors tensors, FindModelTensors(*model));
  return std::unique_ptr<ModelGradient>(std::make_unique<Gradient>(
      model, std::move(runner), std::move(tensors), options));
}

}  // namespace narrow
