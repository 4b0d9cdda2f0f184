// The attention half of a block: hidden += out(attention(norm(hidden))).

#ifndef NARROW_CALIBRATION_ATTENTION_LAYER_H_
#define NARROW_CALIBRATION_ATTENTION_LAYER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/block_tensors.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/rope_table.h"
#include "kernels/attention/attention.h"

namespace narrow {

class AttentionLayer {
 public:
  explicit AttentionLayer(ForwardContext* context)
      : context_(context), attention_(&context->exact, &context->rows) {}

  // `sliding`: whether config.sliding_window applies. `rope` holds angles for
  // hidden->window_tokens at least.
  absl::Status Run(const BlockTensors& block, bool sliding,
                   const RopeTable& rope, Observer* observer,
                   HiddenStates* hidden);

 private:
  struct Matrices {
    std::shared_ptr<const PackedMatrix> q, k, v, output;
  };

  absl::Status Project(const BlockTensors& block, const Matrices& matrices,
                       Observer* observer, const HiddenStates& hidden,
                       int64_t first_row, int64_t n_rows);
  absl::Status NormAndRotate(const BlockTensors& block, const RopeTable& rope,
                             int64_t first_window, int64_t window_tokens);
  absl::Status Attend(bool sliding, int64_t n_windows, int64_t window_tokens);
  void AddOutput(const BlockTensors& block, const PackedMatrix& output,
                 HiddenStates* hidden, int64_t first_row);

  ForwardContext* const context_;
  Attention attention_;
  // Working memory of one step, kept between steps.
  Activations normed_;
  std::vector<float> qkv_;  // [n_rows, query, key and value dimensions]
  Activations attended_;
  std::vector<float> projected_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_ATTENTION_LAYER_H_
