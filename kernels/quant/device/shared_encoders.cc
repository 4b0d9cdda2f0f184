#include "kernels/quant/device/shared_encoders.h"

#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/quant/team/emulate.h"

namespace narrow {
namespace {

// Rows by the calling thread.
void EncodeHere(const BlockCodec& codec, const HostWeights& weights,
                int64_t n_rows, int64_t n_cols, const float* importance,
                uint8_t* bytes) {
  if (!weights.is_bf16) {
    codec.EncodeRows(static_cast<const float*>(weights.data), n_rows, n_cols,
                     importance, bytes);
    return;
  }
  const int64_t row_bytes =
      n_cols / codec.block * Geometry(codec.type).block_bytes;
  const auto* halves = static_cast<const uint16_t*>(weights.data);
  std::vector<float> row(static_cast<size_t>(n_cols));
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t i = 0; i < n_cols; ++i) {
      row[static_cast<size_t>(i)] = FloatFromBf16(halves[r * n_cols + i]);
    }
    codec.EncodeRows(row.data(), 1, n_cols, importance, bytes + r * row_bytes);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedEncoders>> SharedEncoders::Create(
    const Device& device, int n_encoders,
    std::function<void(absl::string_view)> note) {
  assert(n_encoders > 0);
  std::unique_ptr<SharedEncoders> shared(new SharedEncoders(std::move(note)));
  SharedEncoders* const self = shared.get();
  DeviceEncoderOptions options;
  options.on_smaller_batch = [self](int64_t n_rows, absl::string_view why) {
    self->Say(kSmaller, absl::StrCat("encoding goes on with batches of ",
                                     n_rows, " rows: ", why));
  };
  for (int i = 0; i < n_encoders; ++i) {
    ASSIGN_OR_RETURN(auto encoder, DeviceEncoder::Create(device, options));
    shared->free_.push_back(std::move(encoder));
  }
  return shared;
}

bool SharedEncoders::Supports(QuantType type) const {
  return team::HasTeam(type);
}

std::unique_ptr<DeviceEncoder> SharedEncoders::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  given_back_.wait(lock, [this] { return !free_.empty(); });
  std::unique_ptr<DeviceEncoder> encoder = std::move(free_.back());
  free_.pop_back();
  return encoder;
}

void SharedEncoders::GiveBack(std::unique_ptr<DeviceEncoder> encoder) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(encoder));
  }
  given_back_.notify_one();
}

void SharedEncoders::Say(Note which, absl::string_view text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (note_ && !said_[which]) {
    said_[which] = true;
    note_(text);
  }
}

absl::Status SharedEncoders::EncodeRows(const BlockCodec& codec,
                                        const HostWeights& weights,
                                        int64_t n_rows, int64_t n_cols,
                                        const float* importance, uint8_t* bytes,
                                        absl::string_view what) {
  if (Supports(codec.type)) {
    std::unique_ptr<DeviceEncoder> encoder = Take();
    const absl::Status status = encoder->EncodeRows(
        codec, weights, n_rows, n_cols, importance, bytes, what);
    GiveBack(std::move(encoder));
    if (!absl::IsResourceExhausted(status)) {
      return status;
    }
    Say(kNone, absl::StrCat("the processor encodes what the device has no "
                            "memory for: ",
                            status.message()));
  }
  EncodeHere(codec, weights, n_rows, n_cols, importance, bytes);
  return absl::OkStatus();
}

}  // namespace narrow
