// A token embedding, solved for what it is used as: what a model begins with,
// and where it is the output matrix too, what it ends with.
//
//   ASSIGN_OR_RETURN(const EmbeddingMetric metric,
//                    EmbeddingMetric::Of(fisher, samples, n_tokens));
//   ASSIGN_OR_RETURN(SolvedTensor solved,
//                    SolveEmbedding(model, planned, metric, options));
//
// Row v of it, the token's, with an error e of its weights, makes a KL
// divergence of about
//   (f_v e^T M e + a_v e^T S e) / 2
// a position: at the model's beginning, where f_v is how often the token stands
// in a text and M the mean of g g^T at its row; and at the logits, where S is
// the mean of |g|^2 h h^T over the inputs h of the output matrix, over that of
// |g|^2, and a_v the mean of g_v^2 (calibration/backward/fisher_weights.h; that
// a token's logit is wrong for the other tokens' sake is left out). Both use a
// row in proportion to how common its token is, so that rows differ by f_v /
// a_v alone: about 1, as the model's own draws come as often as they are
// expected, and more for tokens it is sure of. Rows are solved by kernels/
// feedback under S + 2^c M, c the logarithm of that ratio, rounded. Counts are
// drawn towards what the model expects by one occurrence. Where the output
// matrix is another, S is 0, and M the metric of all rows.
//
// The statistics are of the original model, so that the embedding is there
// before anything else is solved. Thread-compatible.

#ifndef NARROW_CONVERTER_COMPENSATED_EMBEDDING_SOLVE_EMBEDDING_H_
#define NARROW_CONVERTER_COMPENSATED_EMBEDDING_SOLVE_EMBEDDING_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/samples.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "converter/compensated/solved_store.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"

namespace narrow {

bool IsEmbedding(const CheckpointTensor& tensor);
// Whether a type loses enough for the time: those of 8 bits and more lose some
// hundredths of what a file of 4 bits does (Gemma-3-270M's Q8_0: 8 %).
bool IsWorthSolving(const BlockCodec& codec);

class EmbeddingMetric {
 public:
  static constexpr int kLeastClass = -2;
  static constexpr int kMostClass = 5;

  // Of the same samples; `n_tokens` rows. FailedPrecondition: the moments were
  // not asked for; DataLoss: their file is damaged.
  static absl::StatusOr<EmbeddingMetric> Of(const FisherWeights& fisher,
                                            const CalibrationSamples& samples,
                                            int64_t n_tokens);

  int64_t n_cols() const { return n_cols_; }
  // Whether it is the output matrix too.
  bool has_output() const { return !as_output_.empty(); }
  // Of row v: c, in [kLeastClass, kMostClass].
  int ClassOf(int64_t v) const { return classes_[static_cast<size_t>(v)]; }
  // S + 2^c M, as if it had been seen at an input.
  LayerStats StatsOf(int c) const;

 private:
  absl::Status AddOutput(const FisherWeights& fisher,
                         const CalibrationSamples& samples);

  int64_t n_cols_ = 0;
  int64_t n_counted_ = 0;                     // tokens of the samples
  std::vector<double> as_input_, as_output_;  // M; S, or empty
  std::vector<int8_t> classes_;
};

struct EmbeddingOptions {
  CompensatedOptions solver;  // drift is not corrected
  SolveFn solve = SolveCompensated;
  ThreadPool* pool = nullptr;
  const std::atomic<bool>* cancelled = nullptr;
  std::optional<Device> device;  // where rows are solved, with the same bytes
};

// DataLoss names a weight that is not finite; Cancelled.
absl::StatusOr<SolvedTensor> SolveEmbedding(const Checkpoint& model,
                                            const PlannedTensor& planned,
                                            const EmbeddingMetric& metric,
                                            const EmbeddingOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_EMBEDDING_SOLVE_EMBEDDING_H_
