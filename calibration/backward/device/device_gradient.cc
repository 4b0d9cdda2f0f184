#include "calibration/backward/device/device_gradient.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/backward/device/device_attention_gradient.h"
#include "calibration/backward/device/device_feed_forward_gradient.h"
#include "calibration/backward/device/device_loss_gradient.h"
#include "calibration/backward/device/gradient_places.h"
#include "calibration/backward/layers/loss_gradient.h"
#include "calibration/device/device_runner.h"
#include "calibration/runner_parts.h"
#include "formats/base/status.h"
#include "kernels/gradients/device/share_threads.h"

namespace narrow {
namespace {

// Logits beyond these save little: the output matrix is then read seldom.
constexpr int64_t kMostLogitBytes = int64_t{4} << 30;

// Multiples of kTileTokens: enough for a card's products, and where memory is
// short.
constexpr int64_t kChunkTokens = 512;
constexpr int64_t kSmallChunkTokens = 64;
static_assert(kChunkTokens % gradient_threads::kTileTokens == 0 &&
                  kSmallChunkTokens % gradient_threads::kTileTokens == 0,
              "chunks are whole tiles");

RunnerOptions OptionsOf(const GradientOptions& options) {
  RunnerOptions runner;
  runner.precision = Precision::kReproducible;
  runner.n_threads = options.n_threads;
  runner.max_cached_bytes = 0;  // the host multiplies nothing
  runner.device = options.device;
  runner.on_device_note = options.on_device_note;
  return runner;
}

// What is worked on at once where `part_windows` go through attention
// together; rows of logits in the same proportion.
GradientShape ShapeFor(const GradientOptions& options, int64_t n_vocab,
                       int64_t part_windows) {
  GradientShape shape;
  shape.n_windows = options.n_windows;
  shape.window_tokens = options.window_tokens;
  shape.part_windows = part_windows;
  shape.chunk_tokens =
      part_windows == shape.n_windows ? kChunkTokens : kSmallChunkTokens;
  shape.step_rows =
      std::min(DeviceFeedForwardGradient::kStepRows, shape.n_rows());
  // Whole pieces of those in which an observer sees them.
  const int64_t piece = LossGradient::MostRows(n_vocab);
  const int64_t wanted =
      std::min(shape.n_rows() * part_windows / shape.n_windows,
               kMostLogitBytes / (4 * n_vocab));
  shape.loss_rows =
      std::min(shape.n_rows(),
               std::max<int64_t>(1, (wanted + piece - 1) / piece) * piece);
  return shape;
}

class DeviceGradient : public ModelGradient {
 public:
  DeviceGradient(std::shared_ptr<const ModelTensors> tensors,
                 std::shared_ptr<DeviceContext> context, GradientMemory memory,
                 DeviceBuffer states, uint64_t seed)
      : tensors_(std::move(tensors)),
        context_(std::move(context)),
        runner_(NewDeviceRunner(tensors_, context_)),
        memory_(std::move(memory)),
        layer_(context_.get()),
        attention_(context_.get(), &memory_, &layer_),
        feed_forward_(context_.get(), &memory_),
        loss_(context_.get(), tensors_.get(), &memory_, seed) {
    middle_.on_device = std::move(states);
  }

  ModelRunner* runner() override { return runner_.get(); }
  ThreadPool* pool() override { return &context_->host()->pool; }
  int64_t n_blocks() const override { return runner_->n_blocks(); }
  // The model does not change: what is on the device stays there.
  void ForgetWeights() override {}

  absl::Status Loss(const HiddenStates& hidden, const uint8_t* counts,
                    int64_t first_token, int32_t* labels, float* gradient,
                    double* total, GradientObserver* observer) override;
  absl::Status Block(int64_t block, const HiddenStates& input,
                     GradientObserver* observer, float* gradient) override;

 private:
  absl::Status TakeInput(const HiddenStates& hidden);
  absl::Status PrepareRope(int64_t window_tokens);
  DeviceAttentionLayer::Rope RopeOf(int64_t block, bool transposed) const;
  absl::Status Back(const BlockWork& work);
  absl::Status CheckFinite(const BlockWork& work);

  const std::shared_ptr<const ModelTensors> tensors_;
  const std::shared_ptr<DeviceContext> context_;
  const std::unique_ptr<ModelRunner> runner_;
  const GradientMemory memory_;
  DeviceAttentionLayer layer_;
  DeviceAttentionGradient attention_;
  DeviceFeedForwardGradient feed_forward_;
  DeviceLossGradient loss_;
  HiddenStates middle_;  // between attention and feed-forward
  RopeTables ropes_;
  int64_t rope_tokens_ = 0;
  // Cosines, sines and opposite sines of all layers, then of sliding ones.
  DeviceBuffer rope_memory_;
};

absl::Status DeviceGradient::TakeInput(const HiddenStates& hidden) {
  const GradientShape& shape = memory_.shape();
  if (hidden.n_windows > shape.n_windows ||
      hidden.window_tokens != shape.window_tokens) {
    return absl::FailedPreconditionError(
        absl::StrCat("a reverse pass for ", shape.n_windows, " windows of ",
                     shape.window_tokens, " tokens is given ", hidden.n_windows,
                     " of ", hidden.window_tokens));
  }
  return context_->ToDevice(
      hidden.values.data(),
      static_cast<int64_t>(hidden.values.size() * sizeof(float)),
      memory_.places().input, "hidden states");
}

absl::Status DeviceGradient::PrepareRope(int64_t window_tokens) {
  if (rope_tokens_ == window_tokens) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ropes_.Prepare(context_->config(), window_tokens));
  std::vector<float> all;
  for (const RopeTable* table : {&ropes_.global, &ropes_.local}) {
    all.insert(all.end(), table->cosines.begin(), table->cosines.end());
    all.insert(all.end(), table->sines.begin(), table->sines.end());
    for (const float sine : table->sines) {
      all.push_back(-sine);
    }
  }
  const size_t n_bytes = all.size() * sizeof(float);
  ASSIGN_OR_RETURN(rope_memory_,
                   context_->device().Allocate(n_bytes, "rotary angles"));
  RETURN_IF_ERROR(context_->ToDevice(all.data(), static_cast<int64_t>(n_bytes),
                                     rope_memory_.data(), "rotary angles"));
  rope_tokens_ = window_tokens;
  return absl::OkStatus();
}

DeviceAttentionLayer::Rope DeviceGradient::RopeOf(int64_t block,
                                                  bool transposed) const {
  const int64_t n = static_cast<int64_t>(ropes_.global.cosines.size());
  const float* const cosines =
      rope_memory_.as<float>() +
      (IsSliding(context_->config(), block) ? 3 * n : 0);
  return {cosines, cosines + (transposed ? 2 * n : n), ropes_.global.n_pairs};
}

absl::Status DeviceGradient::Loss(const HiddenStates& hidden,
                                  const uint8_t* counts, int64_t first_token,
                                  int32_t* labels, float* gradient,
                                  double* total, GradientObserver* observer) {
  RETURN_IF_ERROR(TakeInput(hidden));
  const int64_t n_tokens = hidden.n_windows * hidden.window_tokens;
  RETURN_IF_ERROR(
      loss_.Run(n_tokens, counts, first_token, labels, total, observer));
  return context_->ToHost(memory_.places().gradient,
                          4 * n_tokens * hidden.hidden_size, gradient,
                          "gradients of hidden states");
}

absl::Status DeviceGradient::Block(int64_t block, const HiddenStates& input,
                                   GradientObserver* observer,
                                   float* gradient) {
  RETURN_IF_ERROR(PrepareRope(input.window_tokens));
  RETURN_IF_ERROR(TakeInput(input));
  const int64_t n_bytes =
      static_cast<int64_t>(input.values.size() * sizeof(float));
  RETURN_IF_ERROR(context_->ToDevice(gradient, n_bytes,
                                     memory_.places().gradient,
                                     "gradients of hidden states"));
  DeviceStream* const stream = context_->stream();
  ASSIGN_OR_RETURN(const absl::Span<const DeviceMatrix> matrices,
                   context_->weights()->Acquire(block, stream));
  const BlockWork work = {block,
                          tensors_->blocks[static_cast<size_t>(block)],
                          matrices,
                          RopeOf(block, /*transposed=*/false),
                          RopeOf(block, /*transposed=*/true),
                          input.n_windows,
                          input.window_tokens,
                          input.first_window,
                          observer};
  const absl::Status status = Back(work);
  const absl::Status released = context_->weights()->Release(block, stream);
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(released);
  RETURN_IF_ERROR(CheckFinite(work));
  return context_->ToHost(memory_.places().gradient, n_bytes, gradient,
                          "gradients of hidden states");
}

absl::Status DeviceGradient::Back(const BlockWork& work) {
  ASSIGN_OR_RETURN(const bool traced, attention_.Forward(work, &middle_));
  RETURN_IF_ERROR(feed_forward_.Run(work, middle_.on_device.as<float>()));
  return attention_.Run(work, traced, &middle_);
}

absl::Status DeviceGradient::CheckFinite(const BlockWork& work) {
  const int64_t n_hidden = context_->config().hidden_size;
  ASSIGN_OR_RETURN(FiniteFlags flags,
                   FiniteFlags::Begin(context_.get(), 1, work.n_rows()));
  RETURN_IF_ERROR(flags.Look(0, 0, memory_.places().gradient, work.n_rows(),
                             n_hidden, n_hidden));
  ASSIGN_OR_RETURN(const std::vector<int64_t> bad, flags.First());
  if (bad[0] < 0) {
    return absl::OkStatus();
  }
  return NotFinite(
      *context_->host()->model,
      absl::StrCat("the gradient at the input of blk.", work.block),
      work.first_window + bad[0] / work.window_tokens,
      bad[0] % work.window_tokens);
}

// What one window of the forward pass needs beside the weights.
std::vector<DeviceContext::RoomSize> WindowRooms(const ModelConfig& c,
                                                 int64_t window_tokens) {
  const int64_t n_query = c.n_heads * c.head_dim;
  const int64_t width = n_query + 2 * c.n_kv_heads * c.head_dim;
  return {{Room::kNormed, 4 * window_tokens * c.hidden_size},
          {Room::kQkv, 4 * window_tokens * width},
          {Room::kAttended, 4 * window_tokens * n_query},
          {Room::kProjected, 4 * window_tokens * c.hidden_size}};
}

absl::StatusOr<std::shared_ptr<DeviceContext>> OpenContext(
    const Checkpoint* model, const ModelTensors& tensors,
    const GradientOptions& options) {
  const auto rooms = WindowRooms(model->config(), options.window_tokens);
  int64_t n_bytes = 0;
  for (const DeviceContext::RoomSize& room : rooms) {
    n_bytes += room.n_bytes;
  }
  // Weights take what is free: they leave this.
  ASSIGN_OR_RETURN(DeviceBuffer kept_free,
                   options.device->Allocate(static_cast<size_t>(n_bytes),
                                            "a window of the forward pass"));
  ASSIGN_OR_RETURN(std::shared_ptr<DeviceContext> context,
                   DeviceContext::Create(model, &tensors, OptionsOf(options)));
  kept_free = DeviceBuffer();
  RETURN_IF_ERROR(context->Reserve(rooms));
  return context;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelGradient>> NewDeviceGradient(
    const Checkpoint* model, ModelTensors tensors,
    const GradientOptions& options) {
  const Device& device = *options.device;
  const ModelConfig& config = model->config();
  // Vectors are known by where they lie.
  const auto kept = std::make_shared<const ModelTensors>(std::move(tensors));
  GradientMemory memory;
  DeviceBuffer states;
  std::shared_ptr<DeviceContext> context;
  const auto attempt = [&](int64_t part_windows) -> absl::Status {
    context.reset();
    states = DeviceBuffer();
    const GradientShape shape =
        ShapeFor(options, kept->output.n_rows, part_windows);
    RETURN_IF_ERROR(memory.Allocate(device, config, *kept, shape));
    ASSIGN_OR_RETURN(
        states, device.Allocate(
                    static_cast<size_t>(shape.n_rows() * config.hidden_size) *
                        sizeof(float),
                    "hidden states"));
    ASSIGN_OR_RETURN(context, OpenContext(model, *kept, options));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(WithSmallerBatches(options.n_windows, 1, attempt,
                                     [&](int64_t n, absl::string_view why) {
                                       if (options.on_device_note) {
                                         options.on_device_note(absl::StrCat(
                                             "the reverse pass goes on with ",
                                             n, " windows at once: ", why));
                                       }
                                     })
                      .status());
  return std::unique_ptr<ModelGradient>(std::make_unique<DeviceGradient>(
      kept, std::move(context), std::move(memory), std::move(states),
      options.seed));
}

}  // namespace narrow
