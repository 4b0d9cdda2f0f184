// Rows of weights to blocks on a device, from and to the host's memory.
//
//   ASSIGN_OR_RETURN(auto encoder, DeviceEncoder::Create(device, {}));
//   if (encoder->Supports(codec.type)) {
//     RETURN_IF_ERROR(encoder->EncodeRows(codec, weights, n_rows, n_cols,
//                                         importance, bytes, tensor_name));
//   }
//
// Bytes are those of codec.EncodeRows: blocks that a card leaves to the host
// (see team.h) are encoded there, with the rest of their row. Rows go through
// in batches, two at a time, so that one is copied while the other is
// computed. On the CPU's device the same steps are done one after the other,
// which is slow and there for tests.
//
// An encoder belongs to one thread at a time.

#ifndef NARROW_KERNELS_QUANT_DEVICE_DEVICE_ENCODE_H_
#define NARROW_KERNELS_QUANT_DEVICE_DEVICE_ENCODE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/quant_type.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/team/encode_task.h"
#include "kernels/quant/team/tables.h"

namespace narrow {

// Weights in the host's memory.
struct HostWeights {
  const void* data = nullptr;
  bool is_bf16 = false;  // else float32
};

struct DeviceEncoderOptions {
  // Weights in a batch, in bytes; a batch has a row at least.
  int64_t batch_bytes = int64_t{64} << 20;
  // Told when memory allows smaller batches only, and why.
  std::function<void(int64_t n_rows, absl::string_view why)> on_smaller_batch;
};

// Runs a task whose pointers are the device's, in the stream: kernels on a
// card, team/emulate.h on the CPU. REQUIRES: Supports the type.
absl::Status RunEncode(QuantType type, const team::EncodeTask& task,
                       DeviceStream* stream);

// Whether both know the type.
bool HasDeviceCode(QuantType type);

// The same for blocks to weights.
absl::Status RunDecode(QuantType type, const team::DecodeTask& task,
                       DeviceStream* stream);

// Copies of a type's tables on a device.
class DeviceTables {
 public:
  static absl::StatusOr<DeviceTables> Copy(const Device& device, QuantType type,
                                           DeviceStream* stream);
  const team::LatticeTables& tables() const { return tables_; }

 private:
  team::LatticeTables tables_;
  std::vector<DeviceBuffer> buffers_;
};

class DeviceEncoder {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceEncoder>> Create(
      const Device& device, DeviceEncoderOptions options);
  ~DeviceEncoder();

  bool Supports(QuantType type) const;

  // As codec.EncodeRows; `what` ends up in messages. ResourceExhausted if the
  // device cannot hold a batch of one row. REQUIRES: n_cols % codec.block ==
  // 0, Supports(codec.type).
  absl::Status EncodeRows(const BlockCodec& codec, const HostWeights& weights,
                          int64_t n_rows, int64_t n_cols,
                          const float* importance, uint8_t* bytes,
                          absl::string_view what);

  // Rows that the host encoded.
  int64_t n_host_rows() const { return n_host_rows_; }

 private:
  struct Slot;
  struct Job;

  DeviceEncoder(const Device& device, DeviceEncoderOptions options);
  // Memory for batches of `n_rows`; after an error there is none.
  absl::Status Reserve(const Job& job, int64_t n_rows);
  absl::Status Grow(const Job& job, int64_t n_rows);
  absl::StatusOr<const team::LatticeTables*> TablesFor(QuantType type);
  absl::Status Begin(const Job& job, int64_t first_row, int64_t n_rows,
                     Slot* slot);
  absl::Status Finish(const Job& job, Slot* slot);
  void EncodeOnHost(const Job& job, const Slot& slot);

  const Device device_;
  const DeviceEncoderOptions options_;
  std::vector<Slot> slots_;
  DeviceBuffer importance_;
  std::vector<std::pair<QuantType, DeviceTables>> tables_;
  int64_t n_host_rows_ = 0;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_DEVICE_ENCODE_H_
