// Fields of a block of all rows, from what its columns have become
// (fit_block.cc): by the type's own encoder, on the device; by trial, on the
// host's threads. Fields are taken out of bytes by the host.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/compensated/device/device_blocks.h"
#include "kernels/compensated/device/run_task.h"
#include "kernels/compensated/parts/block_panel.h"
#include "kernels/compensated/parts/fit_block.h"
#include "kernels/feedback/row_panel.h"

namespace narrow {

using block_tasks::Run;
using block_tasks::TransposeTask;

// What the encoder leaves to the host, or makes of numbers beyond half
// precision, is fitted again there, from the row's weights.
absl::Status DeviceCodecBlocks::FitByEncoding(int64_t at_block,
                                              const DeviceFeedFactor& factor,
                                              HostFields* fields) {
  const block_tasks::Rows size = rows_->size();
  const int64_t block_bytes = Geometry(codec_.type).block_bytes;
  float* const rows = direction_.as<float>();
  RETURN_IF_ERROR(
      Run(TransposeTask{size, block(), rows, nullptr, entry_.as<float>(), true},
          &stream_));
  RETURN_IF_ERROR(stream_.Fill(0, failed_.n_bytes(), failed_.data()));
  team::EncodeTask task;
  task.weights = rows;
  task.n_rows = size.n_rows;
  task.n_cols = block();
  task.importance = factor.pivots.as<float>() + at_block * block();
  task.mean_squares = mean_squares_.as<float>();
  task.tables = tables_->tables();
  task.bytes = bytes_.as<uint8_t>();
  task.failed = failed_.as<uint8_t>();
  task.n_failed = reinterpret_cast<uint32_t*>(failed_.as<uint8_t>() + ld());
  RETURN_IF_ERROR(RunEncode(codec_.type, task, &stream_));
  std::vector<uint8_t> bytes(static_cast<size_t>(size.n_rows * block_bytes));
  std::vector<uint8_t> failed(static_cast<size_t>(size.n_rows));
  RETURN_IF_ERROR(stream_.Copy(bytes_.data(), bytes.size(), bytes.data()));
  RETURN_IF_ERROR(stream_.Copy(failed_.data(), failed.size(), failed.data()));
  RETURN_IF_ERROR(stream_.Synchronize(what_));
  const float* const weights = factor.host->pivots.data() + at_block * block();
  std::vector<float> row(static_cast<size_t>(block()));
  for (int64_t lane = 0; lane < size.n_rows; ++lane) {
    uint8_t* const own = bytes.data() + lane * block_bytes;
    const bool left = failed[static_cast<size_t>(lane)] != 0;
    if (left || !codec_.block_is_finite(own)) {
      RETURN_IF_ERROR(
          stream_.Copy(rows + lane * block(), 4 * row.size(), row.data()));
      RETURN_IF_ERROR(stream_.Synchronize(what_));
      codec_.EncodeRows(row.data(), 1, block(), weights, own);
    }
    BlockFields of;
    if (codec_.block_is_finite(own)) {
      int8_t codes[kMaxBlockWeights];
      codec_.unpack(own, &of, codes);
    } else {
      codec_.fit(row.data(), weights, &of);
    }
    fields->Set(0, lane, of);
  }
  return absl::OkStatus();
}

absl::Status DeviceCodecBlocks::FitOnHost(int64_t at_block,
                                          const DeviceFeedFactor& factor,
                                          HostFields* fields) {
  const block_tasks::Rows size = rows_->size();
  std::vector<float> columns(static_cast<size_t>(block() * size.ld));
  RETURN_IF_ERROR(
      stream_.Copy(entry_.data(), 4 * columns.size(), columns.data()));
  RETURN_IF_ERROR(stream_.Synchronize(what_));
  const float* const weights = factor.host->pivots.data() + at_block * block();
  const auto fit = [&](int64_t part) {
    RowPanel of;
    of.n_rows = std::min(kHostRows, size.n_rows - part * kHostRows);
    of.n_lanes = kHostRows;
    std::vector<float> own(static_cast<size_t>(block() * kHostRows), 0.0f);
    for (int64_t j = 0; j < block(); ++j) {
      const float* const from = columns.data() + j * size.ld + part * kHostRows;
      std::copy(from, from + of.n_rows, own.data() + j * kHostRows);
    }
    BlockPanel panel(codec_, rows_->host_rules(), block(), of);
    FitBlock(codec_, rows_->host_rules(), of.n_rows, own.data(), weights, 0,
             &panel);
    for (int64_t lane = 0; lane < of.n_rows; ++lane) {
      fields->Set(0, part * kHostRows + lane, panel.FieldsOf(0, lane));
    }
  };
  const int64_t n_parts = (size.n_rows + kHostRows - 1) / kHostRows;
  if (pool_ != nullptr) {
    pool_->ParallelFor(n_parts, fit);
    return absl::OkStatus();
  }
  for (int64_t part = 0; part < n_parts; ++part) {
    fit(part);
  }
  return absl::OkStatus();
}

absl::Status DeviceCodecBlocks::Fit(int64_t at_block,
                                    const DeviceFeedFactor& factor) {
  HostFields fields(codec_, 1, ld());
  RETURN_IF_ERROR(tables_.has_value() ? FitByEncoding(at_block, factor, &fields)
                                      : FitOnHost(at_block, factor, &fields));
  return rows_->SetFields(at_block, fields, &stream_);
}

}  // namespace narrow
