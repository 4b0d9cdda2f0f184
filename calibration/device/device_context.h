// What the parts of a forward pass on a device share: its memory, its weights,
// and products in the precision of the runner.
//
//   ASSIGN_OR_RETURN(auto context, DeviceContext::Create(model, &tensors, o));
//   RETURN_IF_ERROR(context->Reserve({{Room::kNormed, n_bytes}}));
//   RETURN_IF_ERROR(context->Multiply(rows, matrix, out, out_row));
//
// Work is put into one stream; what comes back to the host waits for it.
// Belongs to one runner and one thread.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_CONTEXT_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_CONTEXT_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/device/weight_stream.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"
#include "kernels/device.h"
#include "kernels/matmul/device/device_products.h"

namespace narrow {

// Memory of a step, kept between steps. Halves are bfloat16, for products that
// are not exact.
enum class Room {
  kFlags,  // of rows that are not finite
  kNormed,
  kNormedHalves,
  kQkv,
  kQkvHalves,
  kAttended,
  kAttendedHalves,
  kProjected,
  kGates,
  kUps,
  kInner,
  kInnerHalves,
  kRouter,
  kGathered,
  kGatheredHalves,
  kChosen,  // rows and weights of experts
  kExpertOutputs,
  kLogits,
  kScores,
  kSums,  // of columns
  kRooms
};

// Rows that a product reads: floats where it is exact, else halves.
struct DeviceRows {
  const float* floats = nullptr;
  const uint16_t* halves = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
};

class DeviceContext {
 public:
  // Pointers must outlive it. Errors of WeightStream::Create.
  static absl::StatusOr<std::unique_ptr<DeviceContext>> Create(
      const Checkpoint* model, const ModelTensors* tensors,
      const RunnerOptions& options);

  ForwardContext* host() { return &host_; }
  const ModelConfig& config() const { return host_.config(); }
  DeviceStream* stream() { return &stream_; }
  const Device& device() const { return device_; }
  // Whether products are chains of float32, else of bfloat16.
  bool is_exact() const { return is_exact_; }
  WeightStream* weights() { return weights_.get(); }
  DeviceProducts* products() { return products_.get(); }

  // Groups of `weights`: a block's, in this order, and slices of the output
  // matrix after those of all blocks.
  enum Matrix { kQ, kK, kV, kAttnOutput, kGate, kUp, kDown };
  static constexpr int64_t kSliceTokens = 8192;
  int64_t n_slices() const { return n_slices_; }
  int64_t slice_group(int64_t slice) const { return config().n_layers + slice; }

  // Memory of at least so many bytes. After an error no room has any, so that
  // fewer rows find more.
  struct RoomSize {
    Room room;
    int64_t n_bytes;
  };
  absl::Status Reserve(absl::Span<const RoomSize> sizes);
  template <typename T>
  T* at(Room room) const {
    return rooms_[static_cast<size_t>(room)].as<T>();
  }

  // How many of `n_units` of `unit_rows` rows each are worked on together:
  // reserves what `sizes` says for them, fewer where memory is short, which is
  // noted. Never fewer than one.
  absl::StatusOr<int64_t> ReserveSteps(
      int64_t n_units, int64_t unit_rows,
      const std::function<std::vector<RoomSize>(int64_t n_rows)>& sizes);

  // A small vector of the model's tensors on the device.
  const float* vector(const std::vector<float>& values) const {
    return vectors_.at(values.data());
  }

  // out[x.n_rows, matrix.n_rows] = x times the matrix, and the bias where
  // there is one; rows of `out` out_row apart.
  absl::Status Multiply(const DeviceRows& x, const DeviceMatrix& matrix,
                        float* out, int64_t out_row,
                        const std::vector<float>& bias = {});
  // Norm of rows to the rooms that products read; with `floats` to float32
  // too.
  absl::StatusOr<DeviceRows> Norm(const float* x,
                                  const std::vector<float>& weight,
                                  int64_t n_rows, bool floats);
  // Rows of floats as products read them; `halves` where they are rounded.
  absl::StatusOr<DeviceRows> Round(const float* x, int64_t n_rows,
                                   int64_t n_cols, Room halves);
  // hidden += projected, after its norm where `post_norm` is one.
  absl::Status AddToHidden(float* projected,
                           const std::vector<float>& post_norm, int64_t n_rows,
                           float* hidden);

  // Copies, and waits for it and for all work before.
  absl::Status ToHost(const void* from, int64_t n_bytes, void* to,
                      absl::string_view what);
  absl::Status ToDevice(const void* from, int64_t n_bytes, void* to,
                        absl::string_view what);
  // Takes hidden states to the device, if they are on the host, and back.
  absl::Status Move(HiddenStates* hidden);
  absl::Status Fetch(HiddenStates* hidden);

  void Note(absl::string_view text) const;

 private:
  DeviceContext(const Checkpoint* model, const RunnerOptions& options);
  absl::Status Open(const Checkpoint* model, const ModelTensors& tensors,
                    const RunnerOptions& options);
  absl::Status CopyVectors(const ModelTensors& tensors);

  ForwardContext host_;
  const Device device_;
  const bool is_exact_;
  const std::function<void(absl::string_view)> note_;
  DeviceStream stream_;
  std::unique_ptr<DeviceProducts> products_;
  std::unique_ptr<WeightStream> weights_;
  int64_t n_slices_ = 0;
  int64_t step_rows_;
  DeviceBuffer vector_memory_;
  std::unordered_map<const float*, const float*> vectors_;
  std::array<DeviceBuffer, static_cast<size_t>(Room::kRooms)> rooms_;
};

// Flags of rows that are not finite, in Room::kFlags: some for each row of the
// hidden states.
class FiniteFlags {
 public:
  // `n_sets` sets, all 0.
  static absl::StatusOr<FiniteFlags> Begin(DeviceContext* context,
                                           int64_t n_sets, int64_t n_rows);
  // Of set `set`, from `first_row` on: rows of n numbers, `stride` apart.
  absl::Status Look(int64_t set, int64_t first_row, const float* x,
                    int64_t n_rows, int64_t n, int64_t stride);
  // The first row of each set that is flagged, -1 where none is. Waits.
  absl::StatusOr<std::vector<int64_t>> First();

 private:
  FiniteFlags(DeviceContext* context, int64_t n_sets, int64_t n_rows)
      : context_(context), n_sets_(n_sets), n_rows_(n_rows) {}

  DeviceContext* context_;
  int64_t n_sets_;
  int64_t n_rows_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_CONTEXT_H_
