// Encoders of one device for the threads of a program.
//
//   ASSIGN_OR_RETURN(auto encoders, SharedEncoders::Create(device, 4, note));
//   RETURN_IF_ERROR(encoders->EncodeRows(codec, weights, n_rows, n_cols,
//                                        importance, bytes, tensor_name));
//
// A call takes an encoder that is free, or waits for one. Types that the
// device has no kernel for, and rows that do not fit into its memory one by
// one, are encoded by the calling thread: the bytes are codec.EncodeRows's in
// any case.
//
// Safe from any thread.

#ifndef NARROW_KERNELS_QUANT_DEVICE_SHARED_ENCODERS_H_
#define NARROW_KERNELS_QUANT_DEVICE_SHARED_ENCODERS_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/quant_type.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/device/device_encode.h"

namespace narrow {

class SharedEncoders {
 public:
  // `note`, if not empty, is told once that memory allows smaller batches
  // only, and once that it allows none; from any thread, one at a time.
  // REQUIRES: n_encoders > 0.
  static absl::StatusOr<std::unique_ptr<SharedEncoders>> Create(
      const Device& device, int n_encoders,
      std::function<void(absl::string_view)> note);

  bool Supports(QuantType type) const;

  // As DeviceEncoder's, but for types without kernels and rows without memory.
  absl::Status EncodeRows(const BlockCodec& codec, const HostWeights& weights,
                          int64_t n_rows, int64_t n_cols,
                          const float* importance, uint8_t* bytes,
                          absl::string_view what);

 private:
  enum Note { kSmaller, kNone, kNotes };

  explicit SharedEncoders(std::function<void(absl::string_view)> note)
      : note_(std::move(note)) {}
  std::unique_ptr<DeviceEncoder> Take();
  void GiveBack(std::unique_ptr<DeviceEncoder> encoder);
  void Say(Note which, absl::string_view text);

  const std::function<void(absl::string_view)> note_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<DeviceEncoder>> free_;  // under mutex_
  bool said_[kNotes] = {};                            // likewise
};

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_SHARED_ENCODERS_H_
