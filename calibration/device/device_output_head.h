// The output matrix on a device: logits, and scores of targets, of which only
// the scores come back.
//
// The vocabulary goes through in slices that the weights' stream reads; the
// logits of a slice are reduced while they are there, panel by panel in the
// order of output_head.h, so that exact scores are the processor's.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_OUTPUT_HEAD_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_OUTPUT_HEAD_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "calibration/device/device_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

class DeviceOutputHead {
 public:
  DeviceOutputHead(DeviceContext* context, const WeightRows& weight)
      : context_(context), weight_(weight) {}

  // As ModelRunner's.
  absl::Status Logits(const float* rows, int64_t n_rows, float* logits);
  absl::Status LogitsOnDevice(const float* rows, int64_t n_rows,
                              DeviceLogits* logits);
  absl::Status LogProbs(const float* rows, int64_t n_rows,
                        const int32_t* targets, TokenScore* scores);

 private:
  // The logits of a slice of the vocabulary go where `place` says, n_tokens of
  // every row, rows `stride` apart, without the soft cap.
  struct Slice {
    float* out;
    int64_t stride;
  };
  using PlaceFn = std::function<Slice(int64_t first_token, int64_t n_tokens)>;
  using UseFn =
      std::function<absl::Status(int64_t first_token, int64_t n_tokens)>;
  // Then use(first_token, n_tokens) is called, if there is one.
  absl::Status MultiplySlices(const float* rows, int64_t n_rows,
                              const PlaceFn& place, const UseFn& use);
  // Calls use(first_token, n_tokens) for each slice, whose logits of all rows
  // are in Room::kLogits.
  absl::Status ForEachSlice(const float* rows, int64_t n_rows,
                            const UseFn& use);
  absl::Status CapLogits(int64_t n, float* logits);
  absl::StatusOr<int64_t> Reserve(int64_t n_rows);
  absl::Status ScoreRows(const float* rows, int64_t n_rows,
                         const int32_t* targets, TokenScore* scores);

  DeviceContext* const context_;
  const WeightRows weight_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_OUTPUT_HEAD_H_
