// Fields and codes of some rows of blocks on a device, from a file's bytes and
// back to them.
//
//   DeviceCodecRows rows(device, codec, n_cols);
//   RETURN_IF_ERROR(rows.Reserve(n_rows));
//   RETURN_IF_ERROR(rows.Load(bytes, &pool, &stream));
//   rows.Fields(block); rows.Codes(column);     // the device's, [., ld]
//   RETURN_IF_ERROR(rows.Store(nullptr, bytes, &pool, &stream));
//
// Bytes are taken apart and put together by the codec on the host's threads:
// what goes up and down is a byte a code, and the fields. One thread at a time.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_ROWS_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_ROWS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "formats/base/parallel.h"
#include "kernels/compensated/device/block_tasks.h"
#include "kernels/compensated/parts/block_rules.h"
#include "kernels/compensated/parts/unit_rules.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Rows that a thread of the host takes apart together.
inline constexpr int64_t kHostRows = 64;

// Fields of blocks that follow one another, as they lie on the device.
struct HostFields {
  HostFields(const BlockCodec& codec, int64_t n_blocks, int64_t ld);
  void Set(int64_t block, int64_t lane, const BlockFields& fields);
  BlockFields Get(int64_t block, int64_t lane) const;

  const BlockCodec& codec;
  int64_t n_sub = 0;
  int64_t ld = 0;
  bool (*is_down)(const BlockFields& fields, int first) = nullptr;
  std::vector<float> d;       // [n_blocks, ld]
  std::vector<float> dmin;    // the same
  std::vector<float> scales;  // [n_blocks, n_sub, ld]
  std::vector<float> mins;    // the same
  std::vector<float> downs;   // [n_blocks, units, ld], with is_down
};

class DeviceCodecRows {
 public:
  // Copies a type's tables to the device.
  static absl::StatusOr<std::unique_ptr<DeviceCodecRows>> New(
      const Device& device, const BlockCodec& codec, int64_t n_cols,
      DeviceStream* stream);

  // Memory for rows, whatever was there before.
  absl::Status Reserve(int64_t n_rows);
  void Free();

  // Their pointers are the device's.
  const BlockRules& rules() const { return rules_; }
  const UnitRules& units() const { return units_; }
  // The host's own.
  const BlockRules& host_rules() const { return host_rules_.rules(); }

  block_tasks::Rows size() const { return {n_rows_, ld_}; }
  int64_t n_cols() const { return n_cols_; }
  int64_t n_blocks() const { return n_cols_ / codec_.block; }
  FieldLanes Fields(int64_t block) const;
  int8_t* Codes(int64_t column) const;
  block_tasks::Downs Downs(int64_t column) const;

  // `bytes` are the rows'.
  absl::Status Load(const uint8_t* bytes, ThreadPool* pool,
                    DeviceStream* stream);
  // Of blocks from `first` on; steps follow.
  absl::Status SetFields(int64_t first, const HostFields& fields,
                         DeviceStream* stream);
  // The rows r for which keep[r], or all. Waits.
  absl::Status Store(const std::vector<uint8_t>* keep, uint8_t* bytes,
                     ThreadPool* pool, DeviceStream* stream) const;
  // Values of columns that are whole blocks.
  absl::Status Decode(int64_t column, int64_t n_columns, float* values,
                      DeviceStream* stream) const;

 private:
  DeviceCodecRows(const Device& device, const BlockCodec& codec, int64_t n_cols)
      : device_(device),
        codec_(codec),
        host_rules_(codec),
        host_units_(codec),
        n_cols_(n_cols) {}
  absl::Status CopyTables(DeviceStream* stream);

  const Device device_;
  const BlockCodec& codec_;
  const BlockRuleSet host_rules_;
  const UnitRuleSet host_units_;
  const int64_t n_cols_;
  int64_t n_rows_ = 0;
  int64_t ld_ = 0;
  BlockRules rules_;
  UnitRules units_;
  std::vector<DeviceBuffer> tables_;
  bool has_downs_ = false;
  DeviceBuffer codes_;   // [n_cols, ld]
  DeviceBuffer d_;       // [n_blocks, ld]
  DeviceBuffer dmin_;    // the same
  DeviceBuffer scales_;  // [n_blocks, n_sub, ld]
  DeviceBuffer mins_;    // the same
  DeviceBuffer steps_;   // the same
  DeviceBuffer lows_;    // the same
  DeviceBuffer downs_;   // [units of a row, ld]; or [ld] zeros
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_ROWS_H_
