#include "kernels/compensated/device/device_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/compensated/device/run_task.h"

namespace narrow {

using block_tasks::DecodeTask;
using block_tasks::DeriveTask;
using block_tasks::Run;

namespace {

// Whole lines of memory begin with each column.
constexpr int64_t kAlign = 32;
constexpr char kWhat[] = "rows of blocks";

template <typename T>
absl::Status Upload(const std::vector<T>& from, void* to,
                    DeviceStream* stream) {
  return stream->Copy(from.data(), from.size() * sizeof(T), to);
}

template <typename T>
absl::Status Download(const DeviceBuffer& from, std::vector<T>* to,
                      DeviceStream* stream) {
  return stream->Copy(from.data(), to->size() * sizeof(T), to->data());
}

// body(first, n) for some rows at a time.
template <typename Body>
void ForHostRows(ThreadPool* pool, int64_t n_rows, const Body& body) {
  const int64_t n_parts = (n_rows + kHostRows - 1) / kHostRows;
  const auto part = [&](int64_t i) {
    const int64_t first = i * kHostRows;
    body(first, std::min(kHostRows, n_rows - first));
  };
  if (pool != nullptr) {
    pool->ParallelFor(n_parts, part);
    return;
  }
  for (int64_t i = 0; i < n_parts; ++i) {
    part(i);
  }
}

}  // namespace

HostFields::HostFields(const BlockCodec& of, int64_t n_blocks, int64_t ld)
    : codec(of), n_sub(of.ranges.n_sub_blocks), ld(ld) {
  const size_t n = static_cast<size_t>(n_blocks * ld);
  d.resize(n);
  dmin.resize(n);
  scales.resize(n * static_cast<size_t>(n_sub));
  mins.resize(scales.size());
  if (codec.unit > 1) {
    is_down = codec.unit_points().is_down;
  }
  if (is_down != nullptr) {
    downs.resize(n * static_cast<size_t>(codec.block / codec.unit));
  }
}

void HostFields::Set(int64_t block, int64_t lane, const BlockFields& fields) {
  // ggml's encoders overflow where weights do.
  const auto finite = [](float x) { return std::isfinite(x) ? x : 0.0f; };
  d[static_cast<size_t>(block * ld + lane)] = finite(fields.d);
  dmin[static_cast<size_t>(block * ld + lane)] = finite(fields.dmin);
  for (int64_t g = 0; g < n_sub; ++g) {
    const size_t at = static_cast<size_t>((block * n_sub + g) * ld + lane);
    scales[at] = fields.scales[g];
    mins[at] = fields.mins[g];
  }
  // By the fields that no refit changes (IQ1's shifts).
  const int64_t n_units = codec.block / codec.unit;
  for (int64_t u = 0; is_down != nullptr && u < n_units; ++u) {
    downs[static_cast<size_t>((block * n_units + u) * ld + lane)] =
        is_down(fields, static_cast<int>(u) * codec.unit) ? 1.0f : 0.0f;
  }
}

BlockFields HostFields::Get(int64_t block, int64_t lane) const {
  BlockFields fields;
  fields.d = d[static_cast<size_t>(block * ld + lane)];
  fields.dmin = dmin[static_cast<size_t>(block * ld + lane)];
  for (int64_t g = 0; g < n_sub; ++g) {
    const size_t at = static_cast<size_t>((block * n_sub + g) * ld + lane);
    fields.scales[g] = static_cast<int16_t>(scales[at]);
    fields.mins[g] = static_cast<int16_t>(mins[at]);
  }
  return fields;
}

absl::StatusOr<std::unique_ptr<DeviceCodecRows>> DeviceCodecRows::New(
    const Device& device, const BlockCodec& codec, int64_t n_cols,
    DeviceStream* stream) {
  std::unique_ptr<DeviceCodecRows> rows(
      new DeviceCodecRows(device, codec, n_cols));
  RETURN_IF_ERROR(rows->CopyTables(stream));
  return rows;
}

absl::Status DeviceCodecRows::CopyTables(DeviceStream* stream) {
  rules_ = host_rules_.rules();
  units_ = host_units_.rules();
  const auto copy = [&](auto** table, int64_t n) -> absl::Status {
    if (*table == nullptr || n == 0) {
      return absl::OkStatus();
    }
    const size_t n_bytes = static_cast<size_t>(n) * sizeof(**table);
    ASSIGN_OR_RETURN(DeviceBuffer buffer, device_.Allocate(n_bytes, kWhat));
    RETURN_IF_ERROR(stream->Copy(*table, n_bytes, buffer.data()));
    *table = static_cast<decltype(*table + 0)>(buffer.data());
    tables_.push_back(std::move(buffer));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      copy(&rules_.scale_values,
           static_cast<int64_t>(rules_.scale_high - rules_.scale_low) + 1));
  RETURN_IF_ERROR(copy(&units_.levels, units_.n_points * units_.dim));
  RETURN_IF_ERROR(copy(&units_.first_half, units_.n_points));
  RETURN_IF_ERROR(copy(&units_.second_half, units_.n_points));
  has_downs_ = codec_.unit > 1 && codec_.unit_points().is_down != nullptr;
  return stream->Synchronize(kWhat);
}

void DeviceCodecRows::Free() {
  for (DeviceBuffer* buffer :
       {&codes_, &d_, &dmin_, &scales_, &mins_, &steps_, &lows_, &downs_}) {
    *buffer = DeviceBuffer();
  }
}

absl::Status DeviceCodecRows::Reserve(int64_t n_rows) {
  n_rows_ = n_rows;
  ld_ = (n_rows + kAlign - 1) / kAlign * kAlign;
  const auto reserve = [&](int64_t n_bytes,
                           DeviceBuffer* buffer) -> absl::Status {
    const size_t size = static_cast<size_t>(n_bytes);
    if (buffer->n_bytes() < size) {
      *buffer = DeviceBuffer();
      ASSIGN_OR_RETURN(*buffer, device_.Allocate(size, kWhat));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(reserve(n_cols_ * ld_, &codes_));
  for (DeviceBuffer* buffer : {&d_, &dmin_}) {
    RETURN_IF_ERROR(reserve(4 * n_blocks() * ld_, buffer));
  }
  for (DeviceBuffer* buffer : {&scales_, &mins_, &steps_, &lows_}) {
    RETURN_IF_ERROR(reserve(4 * n_blocks() * rules_.n_sub * ld_, buffer));
  }
  return reserve(4 * (has_downs_ ? n_cols_ / codec_.unit : 1) * ld_, &downs_);
}

FieldLanes DeviceCodecRows::Fields(int64_t block) const {
  FieldLanes fields;
  fields.d = d_.as<float>() + block * ld_;
  fields.dmin = dmin_.as<float>() + block * ld_;
  const int64_t at = block * rules_.n_sub * ld_;
  fields.scales = scales_.as<float>() + at;
  fields.mins = mins_.as<float>() + at;
  fields.steps = steps_.as<float>() + at;
  fields.lows = lows_.as<float>() + at;
  return fields;
}

int8_t* DeviceCodecRows::Codes(int64_t column) const {
  return codes_.as<int8_t>() + column * ld_;
}

block_tasks::Downs DeviceCodecRows::Downs(int64_t column) const {
  if (!has_downs_) {
    return {downs_.as<float>(), 0};
  }
  return {downs_.as<float>() + column / codec_.unit * ld_, ld_};
}

absl::Status DeviceCodecRows::SetFields(int64_t first, const HostFields& fields,
                                        DeviceStream* stream) {
  const FieldLanes to = Fields(first);
  RETURN_IF_ERROR(Upload(fields.d, to.d, stream));
  RETURN_IF_ERROR(Upload(fields.dmin, to.dmin, stream));
  RETURN_IF_ERROR(Upload(fields.scales, to.scales, stream));
  RETURN_IF_ERROR(Upload(fields.mins, to.mins, stream));
  if (has_downs_) {
    const block_tasks::Downs downs = Downs(first * codec_.block);
    RETURN_IF_ERROR(
        Upload(fields.downs, const_cast<float*>(downs.lanes), stream));
  } else {
    RETURN_IF_ERROR(stream->Fill(0, downs_.n_bytes(), downs_.data()));
  }
  const int64_t n_blocks = static_cast<int64_t>(fields.d.size()) / ld_;
  RETURN_IF_ERROR(
      Run(DeriveTask{size(), rules_, n_blocks, Fields(first)}, stream));
  return stream->Synchronize(kWhat);  // the host's copies may go
}

absl::Status DeviceCodecRows::Load(const uint8_t* bytes, ThreadPool* pool,
                                   DeviceStream* stream) {
  HostFields fields(codec_, n_blocks(), ld_);
  std::vector<int8_t> codes(static_cast<size_t>(n_cols_ * ld_));
  const int64_t block_bytes = Geometry(codec_.type).block_bytes;
  ForHostRows(pool, n_rows_, [&](int64_t first, int64_t n) {
    // A block of all these rows, then the next: they share lines of memory.
    for (int64_t block = 0; block < n_blocks(); ++block) {
      for (int64_t lane = first; lane < first + n; ++lane) {
        BlockFields own;
        int8_t own_codes[kMaxBlockWeights];
        codec_.unpack(bytes + (lane * n_blocks() + block) * block_bytes, &own,
                      own_codes);
        fields.Set(block, lane, own);
        int8_t* const to = codes.data() + block * codec_.block * ld_ + lane;
        for (int i = 0; i < codec_.block; ++i) {
          to[i * ld_] = own_codes[i];
        }
      }
    }
  });
  RETURN_IF_ERROR(Upload(codes, codes_.data(), stream));
  return SetFields(0, fields, stream);
}

absl::Status DeviceCodecRows::Store(const std::vector<uint8_t>* keep,
                                    uint8_t* bytes, ThreadPool* pool,
                                    DeviceStream* stream) const {
  HostFields fields(codec_, n_blocks(), ld_);
  std::vector<int8_t> codes(static_cast<size_t>(n_cols_ * ld_));
  RETURN_IF_ERROR(Download(codes_, &codes, stream));
  RETURN_IF_ERROR(Download(d_, &fields.d, stream));
  RETURN_IF_ERROR(Download(dmin_, &fields.dmin, stream));
  RETURN_IF_ERROR(Download(scales_, &fields.scales, stream));
  RETURN_IF_ERROR(Download(mins_, &fields.mins, stream));
  RETURN_IF_ERROR(stream->Synchronize(kWhat));
  const int64_t block_bytes = Geometry(codec_.type).block_bytes;
  ForHostRows(pool, n_rows_, [&](int64_t first, int64_t n) {
    for (int64_t block = 0; block < n_blocks(); ++block) {
      for (int64_t lane = first; lane < first + n; ++lane) {
        if (keep != nullptr && (*keep)[static_cast<size_t>(lane)] == 0) {
          continue;
        }
        int8_t own[kMaxBlockWeights];
        const int8_t* const from =
            codes.data() + block * codec_.block * ld_ + lane;
        for (int i = 0; i < codec_.block; ++i) {
          own[i] = from[i * ld_];
        }
        codec_.pack(fields.Get(block, lane), own,
                    bytes + (lane * n_blocks() + block) * block_bytes);
      }
    }
  });
  return absl::OkStatus();
}

absl::Status DeviceCodecRows::Decode(int64_t column, int64_t n_columns,
                                     float* values,
                                     DeviceStream* stream) const {
  const FieldLanes fields = Fields(column / codec_.block);
  return Run(DecodeTask{size(), n_columns, rules_.sub, Codes(column),
                        fields.steps, fields.lows, values},
             stream);
}

}  // namespace narrow
