// Reverse mode of the forward pass (calibration/model_runner.h), block by
// block: a block's activations are computed again from its input.
//
//   ASSIGN_OR_RETURN(auto model_gradient,
//                    ModelGradient::Create(&model, options));
//   ... forward with model_gradient->runner(), keeping each block's input ...
//   RETURN_IF_ERROR(model_gradient->Loss(hidden, counts, 0, labels,
//                                        gradient.data(), &loss, observer));
//   for (int64_t b = model_gradient->n_blocks(); b-- > 0;)
//     RETURN_IF_ERROR(model_gradient->Block(b, inputs[b], observer,
//                                           gradient.data()));
//
// Every trait of the forward pass is followed, since it is driven by the same
// BlockTensors, ModelConfig and BlockTraits. Only gradients of activations are
// computed; what a weight's would be, the observer has half of. Products are
// reproducible: the same bits for any number of threads, grouping of windows
// and instruction set. In memory are one block's weights twice, as the forward
// pass packs them and as plain rows, as far as options.max_cached_bytes keeps
// them. Belongs to one thread, and uses options.n_threads.

#ifndef NARROW_CALIBRATION_BACKWARD_MODEL_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_MODEL_GRADIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"

namespace narrow {

struct GradientOptions {
  int n_threads = 0;                            // < 1: all processors
  int64_t max_cached_bytes = int64_t{5} << 28;  // as RunnerOptions'
  uint64_t seed = 1;                            // of the labels drawn
  // Where it runs; none: the processor.
  std::optional<Device> device;
  // With a device: the hidden states that come, at most, and told where its
  // memory is short. May be empty.
  int64_t n_windows = 0;
  int64_t window_tokens = 0;
  std::function<void(absl::string_view)> on_device_note;
};

class ModelGradient {
 public:
  // `model` must outlive the result. Errors as ModelRunner::Create's;
  // ResourceExhausted: a device has no room for one window and one block.
  static absl::StatusOr<std::unique_ptr<ModelGradient>> Create(
      const Checkpoint* model, const GradientOptions& options);
  virtual ~ModelGradient() = default;

  // The forward pass, in Precision::kReproducible.
  virtual ModelRunner* runner() = 0;
  virtual ThreadPool* pool() = 0;
  virtual int64_t n_blocks() const = 0;
  // Keeps no decoded weights, the runner's neither.
  virtual void ForgetWeights() = 0;

  // As LossGradient::Run (layers/loss_gradient.h), of the last block's output.
  virtual absl::Status Loss(const HiddenStates& hidden, const uint8_t* counts,
                            int64_t first_token, int32_t* labels,
                            float* gradient, double* total,
                            GradientObserver* observer) = 0;
  // `gradient` [tokens, hidden] at the output of a block whose input was
  // `input` becomes that at the input. The observer, which may be null, sees
  // every linear layer's. DataLoss: a number that is not finite.
  virtual absl::Status Block(int64_t block, const HiddenStates& input,
                             GradientObserver* observer, float* gradient) = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_MODEL_GRADIENT_H_
