// How far a candidate's weights are from the original's, tensor by tensor and
// layer by layer.
//
//   ASSIGN_OR_RETURN(WeightErrors errors,
//                    CompareWeights(*original, *candidate, n_threads, {}));
//   for (const LayerError& layer : errors.layers) ... layer.relative() ...
//
// Both are decoded as the forward pass decodes them. The relative error is
// |candidate - original| / |original| in the Frobenius norm; what it does to
// the model depends on the layer, so it says where a file is coarse, not how
// good it is. Sums are in double and in a fixed order: the same for any number
// of threads.

#ifndef NARROW_VALIDATE_WEIGHTS_WEIGHT_ERROR_H_
#define NARROW_VALIDATE_WEIGHTS_WEIGHT_ERROR_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// Sums over weights.
struct ErrorSums {
  int64_t n_weights = 0;
  int64_t stored_bytes = 0;  // of the candidate
  double squared_error = 0;
  double squared_weights = 0;  // of the original

  void Add(const ErrorSums& other);
  double relative() const {
    return squared_weights > 0 ? std::sqrt(squared_error / squared_weights) : 0;
  }
  double bits_per_weight() const {
    return n_weights == 0 ? 0
                          : 8.0 * static_cast<double>(stored_bytes) /
                                static_cast<double>(n_weights);
  }
};

struct TensorError {
  std::string name;  // GGUF
  int layer = -1;    // -1 outside blocks
  ErrorSums sums;
};

struct LayerError {
  std::string name;  // "0", "1", …; outside blocks the tensor's, "token_embd"
  int layer = -1;
  ErrorSums sums;
};

struct WeightErrors {
  std::vector<TensorError> tensors;  // matrices that both have, as ordered in
                                     // the original
  // Blocks in order; before them the token embeddings, after them the others.
  std::vector<LayerError> layers;
  ErrorSums all;
  // Norms and biases differ by more than rounding: scales were moved between
  // layers (AWQ, SmoothQuant), so weights of both are not comparable one by
  // one, and errors above say nothing.
  bool rescaled = false;
  // Matrices of the original that the candidate lacks, or has in another
  // shape.
  std::vector<std::string> not_compared;
};

// Pieces of work done, of so many; may be empty.
using WeightProgressFn = std::function<void(int64_t done, int64_t total)>;

// Errors of decoding, with tensor and file. Candidates whose matrices have
// more or fewer rows at their end (padded vocabularies) are compared over
// those that both have.
absl::StatusOr<WeightErrors> CompareWeights(const Checkpoint& original,
                                            const Checkpoint& candidate,
                                            int n_threads,
                                            const WeightProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_VALIDATE_WEIGHTS_WEIGHT_ERROR_H_
