// Weights of calibration tokens from one forward and one reverse pass of the
// original model: how much of the loss depends on what a layer gives for a
// token.
//
//   ASSIGN_OR_RETURN(FisherWeights fisher,
//                    ComputeFisherWeights(&model, samples, {}, progress));
//   request.weights = &fisher.tokens;   // blockwise/observe_request.h
//
// An error e_t in a linear layer's output at token t changes the KL divergence
// from the model, to second order, by e_t^T F_t e_t / 2, where F_t = E[g g^T]
// is the expectation over labels that the model itself would draw and g the
// gradient of -log p(label), summed over positions, at the output (Amari,
// "Natural Gradient Works Efficiently in Learning", 1998; as a weight of
// tokens in quantization: Kim et al., "SqueezeLLM", 2023, section 3 has it of
// single weights). One gradient a position, of a few draws whose sum has the
// same F_t (layers/loss_gradient.h), and only its trace,
//   omega_t = |g_t|^2, divided by its mean over the tokens that count,
// are kept: a solver that weighs its rows x_t x_t^T so minimises the KL
// divergence as if the outputs of a layer were alike. Off the trace,
// `moments` is the mean of |x|^2 g g^T over tokens, x the layer's input: the
// whole form is the mean of (g^T E x)^2, E the error of the weights, and what
// an E that is alike in all inputs leaves of it. (Behind a norm g is large
// where outputs, and so inputs, are small. Without |x|^2 a few tokens of
// Gemma-3-270M, the first ones of windows, are nearly all of the mean: see
// docs/measurements.md.) |x| is left out where x comes out of a norm.
//
// Samples go through in batches whose hidden states at every block fit
// options.hidden_bytes (more than a gigabyte of them is no use); where one
// group of samples does not, the rest is kept in a file, compressed. The cost
// is about three forward passes of the blocks, and one product with the output
// matrix. The result is the same for any number of threads, memory limit and
// instruction set.

#ifndef NARROW_CALIBRATION_BACKWARD_FISHER_WEIGHTS_H_
#define NARROW_CALIBRATION_BACKWARD_FISHER_WEIGHTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/output_moments.h"
#include "calibration/blockwise/samples.h"
#include "calibration/blockwise/token_weights.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

// Of the token embedding, among the moments with `embedding`: the mean over
// tokens of g g^T, g the gradient at the stored row of the token; and where it
// is the output matrix too, that of |g|^2 h h^T, g the gradient at the logits
// and h what the final norm gives, which the matrix multiplies.
inline constexpr char kEmbeddingMoments[] = "token_embd.weight";
inline constexpr char kOutputInputMoments[] = "output_norm.weight";

struct FisherOptions {
  // Weights are omega^power, then scaled to mean 1. 0 gives all 1.
  double power = 1;
  uint64_t seed = 1;  // of the labels
  // One label a token, to be taken instead of draws, and the gradient of their
  // own loss instead of draws'; empty: draws.
  std::vector<int32_t> labels;
  // Layers fed by one input (q, k, v; gate, up) get one vector, the mean of
  // theirs, so that they share their Gram matrix too.
  bool per_input = false;
  // Moments of the gradients of layers with at most so many outputs; 0: none.
  int64_t max_moment_outputs = 0;
  // Those of the token embedding, of all its uses.
  bool embedding = false;
  // Hidden states kept in memory; above it they go to a file in
  // `spill_folder` (empty: the system's temporary folder), as do moments.
  int64_t hidden_bytes = int64_t{4} << 30;
  std::string spill_folder;
  int n_threads = 0;                            // < 1: all processors
  int64_t max_cached_bytes = int64_t{5} << 28;  // of decoded weights
  // Where it runs; none: the processor, which a device's memory that is too
  // short leads to, too. The result is the same, bit for bit.
  std::optional<Device> device;
  // Told where memory is short. May be empty.
  std::function<void(absl::string_view)> on_device_note;
  // Looked at between groups; Cancelled once it is true. May be null.
  const std::atomic<bool>* cancelled = nullptr;
};

struct FisherWeights {
  // 0 for tokens that do not count. The loss, too, is over positions that
  // count alone; gradients reach those before them through attention, but
  // statistics leave those out. The output matrix is output.weight, whatever
  // the tensor's name.
  TokenWeights tokens;
  std::shared_ptr<const OutputMoments> moments;  // nullptr unless asked for
  // By tensor and expert (-1: dense), of each output j: the mean of g_j^2 over
  // all tokens that count, whatever the power. An error e of a layer's outputs
  // makes a KL divergence of about the sum of g_j^2 e_j^2 / 2 a token. Under
  // token_embd.weight, those of the stored row of a token.
  std::map<std::pair<std::string, int>, std::vector<double>> output_squares;
  // The labels, one a token; -1 where the token does not count.
  std::vector<int32_t> labels;
  // Of the labels, nats a token that counts.
  double mean_loss = 0;
};

// Share of the work done, 0 ... 1.
using FisherProgressFn = std::function<void(double)>;

// `progress` may be empty. InvalidArgument: samples or options that make no
// sense; Unimplemented: a family without a forward pass; DataLoss: numbers that
// are not finite.
absl::StatusOr<FisherWeights> ComputeFisherWeights(
    const Checkpoint* model, const CalibrationSamples& samples,
    const FisherOptions& options, const FisherProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_FISHER_WEIGHTS_H_
