// One matrix of a GGUF file, solved against the statistics of its input.
//
//   CompensatedProblem problem = {"blk.0.ffn_down.weight", weights, n_rows,
//                                 n_cols, FindCodec(type), &stats, nullptr,
//                                 &options, &pool};
//   ASSIGN_OR_RETURN(CompensatedResult r, SolveCompensated(problem));
//   r.bytes;                                    // blocks, row after row
//
// The baseline is the codec's own encoder with the mean squares of the input
// as importance; no row of the result is worse than it under the Gram matrix.
// The bytes are the same for any number of threads and instruction set.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_SOLVE_TENSOR_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_SOLVE_TENSOR_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"

namespace narrow {

struct CompensatedOptions {
  int rounds = 3;         // of refit and descent
  double damping = 0.03;  // of the Gram matrix, times its mean diagonal
  // Share of the drift of the inputs that is corrected, where cross moments
  // are given, and of the residual stream's own drift.
  double drift = 1;
  double residual = 0.5;
  double drift_damping = 0.01;
  bool refit = true;
  bool sweep = true;
  int n_orders = 1;  // column orders tried; the best row is kept
};

class FactorCache;     // factor_cache.h
class SharedEncoders;  // kernels/quant/device/shared_encoders.h

// Borrows everything.
struct CompensatedProblem {
  absl::string_view name;
  const float* weights = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  const BlockCodec* codec = nullptr;
  const LayerStats* stats = nullptr;  // with gram
  // [n_cols] for the baseline; nullptr: the statistics' mean squares.
  const float* importance = nullptr;
  const CompensatedOptions* options = nullptr;
  ThreadPool* pool = nullptr;
  // Second moments of the output's gradients, [n_rows, n_rows], symmetric; or
  // nullptr. With them what falls in the end is tr(H_O E H E^T), and a row's
  // own error may rise (couple_rows.h).
  const double* output_moments = nullptr;
  // Shared by problems of the same statistics and options; may be nullptr.
  FactorCache* factors = nullptr;
  // Where rows are solved and the Gram matrix is factored, and what encodes the
  // baseline there, with the same bytes (placed_rows.h); nullptr: the
  // processor.
  const Device* device = nullptr;
  SharedEncoders* encoders = nullptr;
};

struct CompensatedResult {
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> plain_bytes;  // the baseline's
  // Of the output, against the original's: the result's and the baseline's.
  double relative_error = 0;
  double relative_error_plain = 0;
  bool accepted = false;     // some row is other than the baseline's
  int64_t n_plain_rows = 0;  // that are the baseline's, which is no worse
  std::vector<std::string> notes;
};

absl::StatusOr<CompensatedResult> SolveCompensated(
    const CompensatedProblem& problem);

// SolveCompensated, but for tests. Called by several threads at once.
using SolveFn =
    std::function<absl::StatusOr<CompensatedResult>(const CompensatedProblem&)>;

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_SOLVE_TENSOR_H_
