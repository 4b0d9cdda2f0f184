// Rows of a model's matrices as numbers on a device: read piece by piece into
// pinned memory, copied, and decoded there.
//
//   ASSIGN_OR_RETURN(auto pieces,
//                    WeightPieces::Create(device, &model, groups, options));
//   RETURN_IF_ERROR(pieces->Load(weight, memory));   // queued
//   RETURN_IF_ERROR(pieces->Record(&marks));
//
// What is done with a matrix depends on how it is stored:
//
//   as the numbers that are wanted         copied to their place
//   in a type that devices know            blocks copied, decoded there
//   packed, codes within words             words and scales copied, weights
//                                          made of them there
//   ... with an offset, rounding, scales   made float32, then finished
//   replaced, or otherwise                 decoded on the host's threads, and
//                                          copied as the numbers wanted
//
// Two pieces are under way: one is filled by the host while the other is
// copied and decoded. One thread at a time.

#ifndef NARROW_CALIBRATION_DEVICE_WEIGHT_PIECES_H_
#define NARROW_CALIBRATION_DEVICE_WEIGHT_PIECES_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/device/packed_piece.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/quant/device/device_encode.h"

namespace narrow {

// Matrices that are needed together. Of a stack of experts: all its rows.
using WeightGroup = std::vector<WeightRows>;

class WeightPieces {
 public:
  struct Options {
    bool as_floats = false;   // float32; else bfloat16
    int64_t piece_bytes = 0;  // at most, but for rows that are longer
    int n_threads = 0;        // of the host; < 1: all processors
  };
  // One in each of the streams.
  using Marks = std::array<DeviceEvent, 2>;

  // For matrices of `groups`. `model` must outlive this.
  static absl::StatusOr<std::unique_ptr<WeightPieces>> Create(
      const Device& device, const Checkpoint* model,
      absl::Span<const WeightGroup> groups, const Options& options);
  ~WeightPieces();

  // Of the device, for all that is here.
  int64_t device_bytes() const { return device_bytes_; }

  // Fills `to`, [n_rows, n_cols]. The rows are read when this returns, and on
  // the device when the marks that are recorded next are reached. Errors name
  // tensor and file; what went wrong on the device may be an earlier call's.
  absl::Status Load(const WeightRows& weight, void* to);
  // Later loads begin after `event`.
  absl::Status Wait(const DeviceEvent& event);
  absl::Status Record(Marks* marks);
  // Until nothing is under way.
  absl::Status Synchronize();

 private:
  struct Slot {
    DeviceStream stream;
    DeviceBuffer pinned;
    DeviceBuffer staged;  // stored bytes
    DeviceBuffer floats;  // decoded, to be finished
  };
  struct Job;

  WeightPieces(const Device& device, const Checkpoint* model,
               const Options& options)
      : device_(device),
        model_(model),
        options_(options),
        pool_(options.n_threads) {}

  static absl::Status WithPlace(const Job& job, const absl::Status& status);
  Job JobOf(const WeightRows& weight) const;
  int64_t RowsOfPiece(const Job& job) const;
  absl::Status Reserve(absl::Span<const WeightGroup> groups);
  absl::Status CopyScales(const CheckpointTensor& tensor);
  absl::Status CopyTables(const Job& job);
  absl::Status CopyCodeTable(CodeKind kind);
  int64_t PieceBytes(const Job& job, int64_t first_row, int64_t n_rows) const;
  absl::Status LoadPiece(const Job& job, int64_t first_row, int64_t n_rows,
                         uint8_t* to, Slot* slot);
  absl::Status ReadOnHost(const Job& job, int64_t first_row, int64_t n_rows,
                          uint8_t* to);
  absl::Status CopyPiece(const Job& job, int64_t first_row, int64_t n_rows,
                         uint8_t* to, Slot* slot);
  absl::Status LoadPacked(const Job& job, PackedPiece piece, int64_t first_row,
                          uint8_t* to, Slot* slot);
  absl::Status Decode(const Job& job, int64_t first_row, int64_t n_rows,
                      uint8_t* to, Slot* slot);
  absl::Status Finish(const Job& job, int64_t first_row, int64_t n_rows,
                      const float* weights, uint8_t* to, Slot* slot);

  const Device device_;
  const Checkpoint* const model_;
  const Options options_;
  ThreadPool pool_;
  std::array<Slot, 2> slots_;
  size_t next_slot_ = 0;
  std::map<QuantType, DeviceTables> tables_;
  std::map<CodeKind, DeviceBuffer> code_tables_;
  std::map<const CheckpointTensor*, DeviceBuffer> scales_;
  int64_t device_bytes_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_WEIGHT_PIECES_H_
