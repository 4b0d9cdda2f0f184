// The output matrix: logits, and scores of targets without ever holding all
// logits of a row.
//
// Scores: the vocabulary is cut into fixed slices, each a task. A slice goes
// through its panels in order; the tile of logits of some rows and one panel
// is reduced while it is in cache to each row's running maximum and sum of
// exponentials, which grow as in the online softmax (Milakov and Gimelshein,
// "Online normalizer calculation for softmax"). Slices are then merged in
// order, so threads do not matter.

#ifndef NARROW_CALIBRATION_OUTPUT_HEAD_H_
#define NARROW_CALIBRATION_OUTPUT_HEAD_H_

#include <cstdint>

#include "absl/status/status.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

class OutputHead {
 public:
  OutputHead(ForwardContext* context, const WeightRows& weight)
      : context_(context), weight_(weight) {}

  // As ModelRunner's.
  absl::Status Logits(const float* rows, int64_t n_rows, float* logits);
  absl::Status LogProbs(const float* rows, int64_t n_rows,
                        const int32_t* targets, TokenScore* scores);

 private:
  struct Slice;

  absl::Status ScoreSlice(const PackedMatrix* kept, const int32_t* targets,
                          Slice* slice) const;
  void ReduceTile(const Tile& tile, const int32_t* targets, Slice* slice) const;
  absl::Status ScoreRows(const float* rows, int64_t n_rows,
                         const int32_t* targets, TokenScore* scores);
  void Load(const float* rows, int64_t n_rows);

  ForwardContext* const context_;
  const WeightRows weight_;
  Activations inputs_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_OUTPUT_HEAD_H_
