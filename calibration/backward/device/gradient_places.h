// Memory of a reverse pass on a device: one piece of it, shared out to what
// the parts keep. Parts take turns, so they have the same bytes.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_PLACES_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_PLACES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "calibration/device/device_attention_layer.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/model_config.h"
#include "kernels/device.h"
#include "kernels/gradients/device/draw_threads.h"

namespace narrow {

// How much is worked on at once.
struct GradientShape {
  int64_t n_windows = 0;  // of the hidden states that come, at most
  int64_t window_tokens = 0;
  int64_t part_windows = 0;  // of these, at once in the attention half
  int64_t chunk_tokens = 0;  // whose queries go through it together
  int64_t loss_rows = 0;     // rows of logits
  int64_t step_rows = 0;     // of the feed-forward half

  int64_t n_rows() const { return n_windows * window_tokens; }
  int64_t part_rows() const { return part_windows * window_tokens; }
};

struct GradientPlaces {
  // Of all rows: hidden states at the part's or block's input, and gradients.
  float* input = nullptr;     // [n_rows, hidden]
  float* gradient = nullptr;  // likewise

  // Of part_rows rows.
  struct Attention {
    DeviceAttentionTrace trace;
    float* output;    // gradients at what the output layer gave
    float* attended;  // at what it was given
    float* qkv;
    float* normed;
    float* norms;  // of the output layer's inputs
    // Of a chunk of queries, all heads.
    float *queries, *outputs, *sums;  // [rows, head_dim]
    float *shares, *scores, *capped;  // [rows, keys]
  } attention = {};

  // Of step_rows rows, but for the last ones.
  struct FeedForward {
    float *normed, *gates, *ups, *inner, *outputs;
    float* output_gradient;
    float* inner_gradient;
    float* gate_up;  // [step_rows, 2 inner columns]
    float* normed_gradient;
    float* norms;
    // With experts.
    int64_t* tokens;
    float* weights;
    float* dots;
    float* all_normed;    // [n_rows, hidden]
    float* all_outputs;   // gradients at what the experts give together
    float* all_sums;      // what they give together
    float* all_gradient;  // at the half's normed input
    float* router;        // [n_rows, n_experts]
    float* router_matrix;
  } feed_forward = {};

  // Of loss_rows rows.
  struct Loss {
    int64_t* tokens;
    int32_t* labels;
    float* normed;    // [rows, hidden], then gradients there
    float* products;  // likewise
    double* sums;
    gradient_threads::LogitRows logits;
    float* picked;  // in the logits' place
    gradient_threads::RowDraws* draws;
  } loss = {};
};

class GradientMemory {
 public:
  // ResourceExhausted: the device has not as much.
  absl::Status Allocate(const Device& device, const ModelConfig& config,
                        const ModelTensors& tensors,
                        const GradientShape& shape);

  const GradientShape& shape() const { return shape_; }
  const GradientPlaces& places() const { return places_; }

 private:
  GradientShape shape_;
  DeviceBuffer memory_;
  GradientPlaces places_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_PLACES_H_
