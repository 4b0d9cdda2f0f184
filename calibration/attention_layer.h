// The attention half of a block: hidden += out(attention(norm(hidden))).

#ifndef NARROW_CALIBRATION_ATTENTION_LAYER_H_
#define NARROW_CALIBRATION_ATTENTION_LAYER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/rope_table.h"
#include "calibration/weights/block_tensors.h"
#include "kernels/attention/attention.h"

namespace narrow {

// What one run computed on the way, row after row of the hidden states; for
// its gradient (calibration/backward/).
struct AttentionTrace {
  // Queries, keys and values of a row, [n_rows, query, key and value
  // dimensions]: as the layers gave them, with their biases (only where heads
  // have norms), and normed and rotated.
  std::vector<float> projected_qkv;
  std::vector<float> qkv;
  // What the output layer gave (only where a norm follows), [n_rows, hidden].
  std::vector<float> output;
  // What the output layer saw, [n_rows, query dimensions].
  std::vector<float> attended;

  // Memory stays for the next run.
  void Clear() {
    for (std::vector<float>* all : {&projected_qkv, &qkv, &output, &attended}) {
      all->clear();
    }
  }
};

class AttentionLayer {
 public:
  explicit AttentionLayer(ForwardContext* context)
      : context_(context), attention_(&context->exact, &context->rows) {}

  // `sliding`: whether config.sliding_window applies. `rope` holds angles for
  // hidden->window_tokens at least. Runs up to `end`. What was computed is
  // added to the end of `trace`, which may be null.
  absl::Status Run(const BlockTensors& block, bool sliding,
                   const RopeTable& rope, PartEnd end, Observer* observer,
                   HiddenStates* hidden, AttentionTrace* trace = nullptr);

  // What Run to kOutput does after kInner, where `inner` are the rows that the
  // output matrix saw, [rows of hidden, n_heads * head_dim].
  absl::Status End(const BlockTensors& block, const float* inner,
                   HiddenStates* hidden);

 private:
  struct Matrices {
    std::shared_ptr<const PackedMatrix> q, k, v, output;
  };

  absl::StatusOr<Matrices> Unpack(const BlockTensors& block, PartEnd end);
  absl::Status NormInput(const BlockTensors& block, Observer* observer,
                         const HiddenStates& hidden, int64_t first_row,
                         int64_t n_rows);
  void Project(const BlockTensors& block, const Matrices& matrices);
  absl::Status NormAndRotate(const BlockTensors& block, const RopeTable& rope,
                             int64_t first_window, int64_t window_tokens);
  absl::Status Attend(bool sliding, int64_t n_windows, int64_t window_tokens);
  void AddOutput(const BlockTensors& block, const PackedMatrix& output,
                 HiddenStates* hidden, int64_t first_row,
                 AttentionTrace* trace);

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
