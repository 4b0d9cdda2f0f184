#include "kernels/quant/device/device_encode.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/quant/device/encode_launch.h"
#include "kernels/quant/team/emulate.h"

namespace narrow {

using team::EncodeTask;
using team::HostTables;
using team::LatticeTables;

absl::Status RunEncode(QuantType type, const EncodeTask& task,
                       DeviceStream* stream) {
  if (task.n_rows == 0 || task.n_cols == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return team::LaunchEncode(type, task, stream->handle());
  }
  team::Emulate(type, task);
  return absl::OkStatus();
}

absl::Status RunDecode(QuantType type, const team::DecodeTask& task,
                       DeviceStream* stream) {
  if (task.n_blocks == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return team::LaunchDecode(type, task, stream->handle());
  }
  team::Emulate(type, task);
  return absl::OkStatus();
}

bool HasDeviceCode(QuantType type) { return team::HasTeam(type); }

absl::StatusOr<DeviceTables> DeviceTables::Copy(const Device& device,
                                                QuantType type,
                                                DeviceStream* stream) {
  const HostTables host = team::TablesOf(type);
  DeviceTables copy;
  const auto upload = [&](auto* from, int64_t n_bytes,
                          auto** to) -> absl::Status {
    if (n_bytes == 0) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(DeviceBuffer buffer,
                     device.Allocate(static_cast<size_t>(n_bytes),
                                     "tables of lattice points"));
    RETURN_IF_ERROR(
        stream->Copy(from, static_cast<size_t>(n_bytes), buffer.data()));
    *to = static_cast<decltype(from)>(buffer.data());
    copy.buffers_.push_back(std::move(buffer));
    return absl::OkStatus();
  };
  const LatticeTables& from = host.tables;
  LatticeTables* to = &copy.tables_;
  RETURN_IF_ERROR(upload(from.levels, host.levels_bytes, &to->levels));
  RETURN_IF_ERROR(upload(from.entries, host.entries_bytes, &to->entries));
  RETURN_IF_ERROR(upload(from.lists, host.lists_bytes, &to->lists));
  RETURN_IF_ERROR(
      upload(from.near_entries, host.near_entries_bytes, &to->near_entries));
  RETURN_IF_ERROR(
      upload(from.whole_entries, host.whole_entries_bytes, &to->whole_entries));
  RETURN_IF_ERROR(
      upload(from.near_words, host.near_words_bytes, &to->near_words));
  RETURN_IF_ERROR(
      upload(from.candidates, host.candidates_bytes, &to->candidates));
  RETURN_IF_ERROR(upload(from.candidate_words, host.candidate_words_bytes,
                         &to->candidate_words));
  RETURN_IF_ERROR(stream->Synchronize("tables of lattice points"));
  return copy;
}

// What a call of EncodeRows is about.
struct DeviceEncoder::Job {
  const BlockCodec& codec;
  HostWeights weights;
  int64_t n_cols;
  const float* importance;
  uint8_t* bytes;
  absl::string_view what;
  const LatticeTables* tables;

  int64_t weight_bytes() const { return weights.is_bf16 ? 2 : 4; }
  int64_t row_weight_bytes() const { return n_cols * weight_bytes(); }
  int64_t row_blocks() const { return n_cols / codec.block; }
  int64_t row_bytes() const {
    return row_blocks() * Geometry(codec.type).block_bytes;
  }
};

// A batch on its way: memory for it on both sides.
struct DeviceEncoder::Slot {
  DeviceStream stream;
  DeviceBuffer host_weights;  // pinned, like host_bytes and host_failed
  DeviceBuffer weights;
  DeviceBuffer host_bytes;
  DeviceBuffer bytes;
  // Flags of blocks, and behind them their number.
  DeviceBuffer host_failed;
  DeviceBuffer failed;
  DeviceBuffer mean_squares;
  int64_t first_row = 0;
  int64_t n_rows = 0;  // 0: nothing under way
};

DeviceEncoder::DeviceEncoder(const Device& device, DeviceEncoderOptions options)
    : device_(device), options_(std::move(options)) {}

DeviceEncoder::~DeviceEncoder() = default;

absl::StatusOr<std::unique_ptr<DeviceEncoder>> DeviceEncoder::Create(
    const Device& device, DeviceEncoderOptions options) {
  std::unique_ptr<DeviceEncoder> encoder(
      new DeviceEncoder(device, std::move(options)));
  for (int i = 0; i < 2; ++i) {
    Slot slot;
    ASSIGN_OR_RETURN(slot.stream, device.NewStream());
    encoder->slots_.push_back(std::move(slot));
  }
  return encoder;
}

bool DeviceEncoder::Supports(QuantType type) const {
  return team::HasTeam(type);
}

namespace {

// Where the number of failed blocks stands behind `n_blocks` flags.
size_t CountAt(int64_t n_blocks) {
  return static_cast<size_t>((n_blocks + 15) / 16 * 16);
}

// Grows `buffer` to `n_bytes`.
absl::Status GrowBuffer(const Device& device, bool is_pinned, int64_t n_bytes,
                        absl::string_view what, DeviceBuffer* buffer) {
  const auto size = static_cast<size_t>(n_bytes);
  if (buffer->n_bytes() >= size) {
    return absl::OkStatus();
  }
  *buffer = DeviceBuffer();
  ASSIGN_OR_RETURN(*buffer, is_pinned ? device.AllocatePinned(size, what)
                                      : device.Allocate(size, what));
  return absl::OkStatus();
}

}  // namespace

absl::Status DeviceEncoder::Reserve(const Job& job, int64_t n_rows) {
  const absl::Status status = Grow(job, n_rows);
  if (!status.ok()) {
    // What one slot has would be missing for a smaller batch.
    for (Slot& slot : slots_) {
      Slot empty;
      empty.stream = std::move(slot.stream);
      slot = std::move(empty);
    }
  }
  return status;
}

absl::Status DeviceEncoder::Grow(const Job& job, int64_t n_rows) {
  const int64_t weights = n_rows * job.row_weight_bytes();
  const int64_t bytes = n_rows * job.row_bytes();
  const int64_t flags =
      static_cast<int64_t>(CountAt(n_rows * job.row_blocks())) + 4;
  for (Slot& slot : slots_) {
    const auto grow = [&](bool is_pinned, int64_t n_bytes,
                          DeviceBuffer* buffer) {
      return GrowBuffer(device_, is_pinned, n_bytes, job.what, buffer);
    };
    RETURN_IF_ERROR(grow(false, weights, &slot.weights));
    RETURN_IF_ERROR(grow(false, bytes, &slot.bytes));
    RETURN_IF_ERROR(grow(false, flags, &slot.failed));
    RETURN_IF_ERROR(grow(false, 4 * n_rows, &slot.mean_squares));
    RETURN_IF_ERROR(grow(true, weights, &slot.host_weights));
    RETURN_IF_ERROR(grow(true, bytes, &slot.host_bytes));
    RETURN_IF_ERROR(grow(true, flags, &slot.host_failed));
  }
  return absl::OkStatus();
}

absl::StatusOr<const LatticeTables*> DeviceEncoder::TablesFor(QuantType type) {
  for (const auto& [its_type, tables] : tables_) {
    if (its_type == type) {
      return &tables.tables();
    }
  }
  ASSIGN_OR_RETURN(DeviceTables tables,
                   DeviceTables::Copy(device_, type, &slots_[0].stream));
  tables_.emplace_back(type, std::move(tables));
  return &tables_.back().second.tables();
}

absl::Status DeviceEncoder::Begin(const Job& job, int64_t first_row,
                                  int64_t n_rows, Slot* slot) {
  const auto weights_bytes =
      static_cast<size_t>(n_rows * job.row_weight_bytes());
  const size_t count_at = CountAt(n_rows * job.row_blocks());
  const size_t flags_bytes = count_at + 4;
  std::memcpy(slot->host_weights.data(),
              static_cast<const uint8_t*>(job.weights.data) +
                  first_row * job.row_weight_bytes(),
              weights_bytes);
  DeviceStream& stream = slot->stream;
  RETURN_IF_ERROR(stream.Copy(slot->host_weights.data(), weights_bytes,
                              slot->weights.data()));
  RETURN_IF_ERROR(stream.Fill(0, flags_bytes, slot->failed.data()));
  EncodeTask task;
  task.weights = slot->weights.data();
  task.is_bf16 = job.weights.is_bf16;
  task.n_rows = n_rows;
  task.n_cols = job.n_cols;
  task.importance =
      job.importance != nullptr ? importance_.as<float>() : nullptr;
  task.mean_squares = slot->mean_squares.as<float>();
  task.tables = *job.tables;
  task.bytes = slot->bytes.as<uint8_t>();
  task.failed = slot->failed.as<uint8_t>();
  task.n_failed =
      reinterpret_cast<uint32_t*>(slot->failed.as<uint8_t>() + count_at);
  RETURN_IF_ERROR(RunEncode(job.codec.type, task, &stream));
  RETURN_IF_ERROR(stream.Copy(slot->bytes.data(),
                              static_cast<size_t>(n_rows * job.row_bytes()),
                              slot->host_bytes.data()));
  RETURN_IF_ERROR(
      stream.Copy(slot->failed.data(), flags_bytes, slot->host_failed.data()));
  slot->first_row = first_row;
  slot->n_rows = n_rows;
  return absl::OkStatus();
}

// A row with a failed block, all of it: some types weigh a block by its row.
void DeviceEncoder::EncodeOnHost(const Job& job, const Slot& slot) {
  std::vector<float> row(static_cast<size_t>(job.n_cols));
  const uint8_t* failed = slot.host_failed.as<uint8_t>();
  for (int64_t r = 0; r < slot.n_rows; ++r) {
    const uint8_t* flags = failed + r * job.row_blocks();
    if (std::find(flags, flags + job.row_blocks(), 1) ==
        flags + job.row_blocks()) {
      continue;
    }
    const uint8_t* weights =
        slot.host_weights.as<uint8_t>() + r * job.row_weight_bytes();
    for (int64_t i = 0; i < job.n_cols; ++i) {
      if (job.weights.is_bf16) {
        uint16_t bits;
        std::memcpy(&bits, weights + 2 * i, sizeof(bits));
        row[i] = FloatFromBf16(bits);
      } else {
        std::memcpy(&row[i], weights + 4 * i, sizeof(float));
      }
    }
    job.codec.EncodeRows(row.data(), 1, job.n_cols, job.importance,
                         job.bytes + (slot.first_row + r) * job.row_bytes());
    ++n_host_rows_;
  }
}

absl::Status DeviceEncoder::Finish(const Job& job, Slot* slot) {
  if (slot->n_rows == 0) {
    return absl::OkStatus();
  }
  const absl::Status status = slot->stream.Synchronize(job.what);
  if (status.ok()) {
    std::memcpy(job.bytes + slot->first_row * job.row_bytes(),
                slot->host_bytes.data(),
                static_cast<size_t>(slot->n_rows * job.row_bytes()));
    uint32_t n_failed;
    std::memcpy(&n_failed,
                slot->host_failed.as<uint8_t>() +
                    CountAt(slot->n_rows * job.row_blocks()),
                sizeof(n_failed));
    if (n_failed > 0) {
      EncodeOnHost(job, *slot);
    }
  }
  slot->n_rows = 0;
  return status;
}

absl::Status DeviceEncoder::EncodeRows(const BlockCodec& codec,
                                       const HostWeights& weights,
                                       int64_t n_rows, int64_t n_cols,
                                       const float* importance, uint8_t* bytes,
                                       absl::string_view what) {
  if (n_rows == 0 || n_cols == 0) {
    return absl::OkStatus();
  }
  Job job = {
      codec, weights, n_cols, codec.uses_importance ? importance : nullptr,
      bytes, what,    nullptr};
  ASSIGN_OR_RETURN(job.tables, TablesFor(codec.type));
  const int64_t wanted = std::max<int64_t>(
      1, std::min(n_rows, options_.batch_bytes / job.row_weight_bytes()));
  ASSIGN_OR_RETURN(const int64_t batch,
                   WithSmallerBatches(
                       wanted, 1, [&](int64_t n) { return Reserve(job, n); },
                       options_.on_smaller_batch));
  if (job.importance != nullptr) {
    RETURN_IF_ERROR(GrowBuffer(device_, false, 4 * n_cols, what, &importance_));
    RETURN_IF_ERROR(slots_[0].stream.Copy(
        importance, static_cast<size_t>(4 * n_cols), importance_.data()));
    RETURN_IF_ERROR(slots_[0].stream.Synchronize(what));
  }
  absl::Status status = absl::OkStatus();
  size_t next = 0;
  for (int64_t row = 0; row < n_rows && status.ok(); row += batch) {
    Slot* slot = &slots_[next];
    next = 1 - next;
    status = Finish(job, slot);
    if (status.ok()) {
      status = Begin(job, row, std::min(batch, n_rows - row), slot);
    }
  }
  // Nothing may be under way when the caller's memory goes.
  for (size_t i = 0; i < slots_.size(); ++i) {
    const absl::Status its_status = Finish(job, &slots_[next]);
    status = status.ok() ? its_status : status;
    next = 1 - next;
  }
  return status;
}

}  // namespace narrow
