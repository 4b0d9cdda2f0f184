// Gathers the norms of gradients at the outputs of linear layers, and makes
// token weights of them.
//
//   GradientNorms norms(&samples.counts, pool, moments);
//   norms.BeginGroup(first_token);
//   RETURN_IF_ERROR(model_gradient->Block(b, input, &norms, gradient));
//   TokenWeights weights = norms.Weights(/*power=*/1);
//
// Belongs to one thread, and uses the pool's.

#ifndef NARROW_CALIBRATION_BACKWARD_GRADIENT_NORMS_H_
#define NARROW_CALIBRATION_BACKWARD_GRADIENT_NORMS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/backward/output_moments.h"
#include "calibration/blockwise/token_weights.h"
#include "formats/base/parallel.h"

namespace narrow {

class GradientNorms : public GradientObserver {
 public:
  // Pointers must outlive this object; `moments` may be null, and gets the
  // gradients of layers with at most max_moment_outputs outputs.
  GradientNorms(const std::vector<uint8_t>* counts, ThreadPool* pool,
                OutputMoments* moments, int64_t max_moment_outputs)
      : counts_(counts),
        pool_(pool),
        moments_(moments),
        max_moment_outputs_(max_moment_outputs) {}

  // What follows is of tokens from `first_token` of all samples on; of one
  // layer in rising order.
  void BeginGroup(int64_t first_token) { first_token_ = first_token; }
  absl::Status OnGradient(const LayerGradient& gradient) override;
  // Norms and sums alone come to the host.
  absl::StatusOr<bool> OnDevice(const GradientOnDevice& gradient) override;
  // Adds the squares of [n_tokens, n_cols] gradients, times scale^2, to those
  // of `name` by columns. `first_token`: of the group.
  void AddSquares(absl::string_view name, const float* rows, int64_t n_tokens,
                  int64_t n_cols, double scale);

  // Of a dense layer: one a token of all samples, 0 for those that it has not
  // been shown yet; nullptr before any. Until Weights.
  const float* NormsOf(const std::string& layer) const {
    const auto norms = layers_.find(layer);
    return norms == layers_.end() ? nullptr : norms->second.data();
  }

  // (|g|^2)^power over its mean; layers whose gradients are all 0 are left
  // out. Empties this object.
  TokenWeights Weights(double power);
  // By tensor and expert, of each output: the mean square of its gradient over
  // all tokens that count, 0 for those that an expert does not see.
  std::map<std::pair<std::string, int>, std::vector<double>> OutputSquares()
      const;

 private:
  // Norms, not their squares, which have twice the range of float's exponent.
  struct ExpertNorms {
    std::vector<int64_t> tokens;
    std::vector<float> norms;
  };

  // Rows that count.
  std::vector<int64_t> Counted(const LayerGradient& gradient) const;
  // Keeps the norms of these.
  void Note(const LayerGradient& gradient, const std::vector<int64_t>& counted,
            const std::vector<float>& norms);
  bool WantsMoments(const LayerGradient& gradient) const {
    return moments_ != nullptr && gradient.n_cols <= max_moment_outputs_;
  }
  // Memory of at least so many bytes for each; false: the device has not.
  absl::StatusOr<bool> Reserve(const Device& device,
                               const std::vector<size_t>& sizes);
  absl::StatusOr<bool> AddMoments(const GradientOnDevice& gradient,
                                  int64_t n_counted);
  // Norms of all rows; squares are added.
  absl::StatusOr<std::vector<float>> SumOnDevice(
      const GradientOnDevice& gradient, const std::vector<int64_t>& counted);

  void AddSquares(const LayerGradient& gradient,
                  const std::vector<int64_t>& counted, double scale);
  absl::Status AddMoments(const LayerGradient& gradient,
                          const std::vector<int64_t>& counted);

  const std::vector<uint8_t>* const counts_;
  ThreadPool* const pool_;
  OutputMoments* const moments_;
  const int64_t max_moment_outputs_;
  int64_t first_token_ = 0;
  std::map<std::string, std::vector<float>> layers_;  // one a token of all
  std::map<std::pair<std::string, int>, ExpertNorms> experts_;
  std::map<std::pair<std::string, int>, std::vector<double>> squares_;  // sums
  // Memory of a device: rows that count, norms, sums of columns, and the rows
  // of moments.
  std::vector<DeviceBuffer> buffers_;
};

// Gives the layers of each set one vector, the mean of theirs; likewise expert
// by expert. Sets that are not wholly there are left alone.
void ShareWeights(const std::vector<std::vector<std::string>>& sets,
                  TokenWeights* weights);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_GRADIENT_NORMS_H_
