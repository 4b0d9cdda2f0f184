// Second moments of the gradients of the loss at the outputs of linear layers,
// rows as the checkpoint has them.
//
//   LayerMoments moments(fisher.moments.get(), model);
//   ASSIGN_OR_RETURN(std::vector<double> h, moments.Read(linear));
//   h[i * linear.n_rows + j]
//
// They are gathered in GGUF's convention, where some families' queries and
// keys have other orders of rows. Borrows both; safe from any thread.

#ifndef NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_MOMENTS_H_
#define NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_MOMENTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "calibration/backward/output_moments.h"
#include "formats/arch/checkpoint.h"
#include "formats/arch/linear_groups.h"

namespace narrow {

class LayerMoments {
 public:
  // `moments` may be null: no layer has any then.
  LayerMoments(const OutputMoments* moments, const Checkpoint* model)
      : moments_(moments), model_(model) {}

  // [n_rows, n_rows]; empty: none were gathered for this layer. DataLoss: the
  // file they are kept in is damaged.
  absl::StatusOr<std::vector<double>> Read(const ModelLinear& linear) const;

 private:
  const OutputMoments* moments_;
  const Checkpoint* model_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_MOMENTS_H_
