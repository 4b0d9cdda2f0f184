// Weights of a model on a device, a group of matrices (a block) at a time:
// while one group is being used, the next is read from its file, copied and
// decoded, so that a model larger than the device's memory runs.
//
//   ASSIGN_OR_RETURN(auto weights,
//                    WeightStream::Create(device, &model, groups, {}));
//   for (i = 0; i < n_blocks; ++i) {
//     ASSIGN_OR_RETURN(auto matrices, weights->Acquire(i, &stream));
//     ...  // launch what uses matrices[0], matrices[1] ... in the stream
//     RETURN_IF_ERROR(weights->Release(i, &stream));
//   }
//
// A thread of its own reads rows piece by piece and has them copied and
// decoded in streams of its own (weight_pieces.h). Values are those of
// ReadScaledRows (calibration/weights/weights.h), to the bit, rounded to
// bfloat16 where that is asked for.
//
// Memory: two pieces on either side, and groups. As many groups as the given
// memory holds stay where they are, the first ones; the others take turns in
// two places, or in one if no more can be had. Errors name tensor and file,
// and come from the Acquire of the group that they befell.
//
// One thread at a time. Matrices are valid from Acquire to Release.

#ifndef NARROW_CALIBRATION_DEVICE_WEIGHT_STREAM_H_
#define NARROW_CALIBRATION_DEVICE_WEIGHT_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/device/weight_pieces.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

struct WeightStreamOptions {
  // float32, for products that are exact; else bfloat16.
  bool as_floats = false;
  // For groups and pieces; 0: seven eighths of what is free.
  int64_t max_device_bytes = 0;
  // Copied at once, at most, but for rows that are longer.
  int64_t piece_bytes = int64_t{64} << 20;
  // Read the group after the one that is acquired. Not while rows of the
  // model change (formats/overlay_source.h).
  bool prefetch = true;
  // Memory for the largest group alone.
  bool one_at_a_time = false;
  // Threads that copy and decode rows on the host; < 1: all processors.
  int n_threads = 0;
  // Told when memory allows less than was hoped for. May be empty.
  std::function<void(absl::string_view why)> report;
};

// On the device, row-major, without gaps between rows. The matrices of a group
// lie one behind the other, each at a multiple of 256 bytes.
struct DeviceMatrix {
  void* data = nullptr;
  bool is_float = false;  // else bfloat16
  int64_t n_rows = 0;
  int64_t n_cols = 0;

  const float* floats() const { return static_cast<const float*>(data); }
  const uint16_t* halves() const { return static_cast<const uint16_t*>(data); }
};

class WeightStream {
 public:
  // `model` must outlive the stream. ResourceExhausted if not even one group
  // fits. Nothing is read yet.
  static absl::StatusOr<std::unique_ptr<WeightStream>> Create(
      const Device& device, const Checkpoint* model,
      std::vector<WeightGroup> groups, const WeightStreamOptions& options);
  virtual ~WeightStream() = default;

  // The group's matrices, in its order; work put into `stream` from now on
  // runs when they are there. FailedPrecondition if the group is acquired, or
  // if those that are leave it no place.
  virtual absl::StatusOr<absl::Span<const DeviceMatrix>> Acquire(
      int64_t group, DeviceStream* stream) = 0;
  // Once the work in `stream` is done, the group's place may be used again.
  virtual absl::Status Release(int64_t group, DeviceStream* stream) = 0;

  // Reads all groups again when next asked for: the model shows other rows.
  // REQUIRES: none is acquired.
  virtual absl::Status Forget() = 0;

  // Whether the group stays on the device, once it was read.
  virtual bool keeps(int64_t group) const = 0;
  // Places in which groups that do not stay take turns: 2, 1, or 0 if all do.
  virtual int n_places() const = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_WEIGHT_STREAM_H_
