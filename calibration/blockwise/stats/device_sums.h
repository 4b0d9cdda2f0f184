// InputSums on a device: the sums over the rows of one input, where the rows
// lie. The numbers are InputSums', bit for bit: columns go row after row, and
// Gram matrices in blocks of kGramBlockRows (kernels/linalg/device). With
// FastGrams these, and cross moments, are of rows rounded to bfloat16, where
// there is memory for them.
//
//   ASSIGN_OR_RETURN(auto sums, DeviceSums::Create(device, shape, needs));
//   RETURN_IF_ERROR(sums->Add(rows, weights, &stream));
//   RETURN_IF_ERROR(sums->Finish(&pool, &stream, &stats));     // once
//
// Work is put into the stream, whose device is that of the sums. Belongs to one
// thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_DEVICE_SUMS_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_DEVICE_SUMS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/linalg/device/fast_gram.h"

namespace narrow {

// Some rows of an input, all on the device.
struct RowsThere {
  const float* inputs = nullptr;    // z
  const float* residual = nullptr;  // s, or null
  const int64_t* rows = nullptr;    // which of these, [n]
  int64_t n = 0;
  // The original's, x and r, or null; of row i of `rows` it is row
  // partners[i], or none where that is below 0.
  const float* originals = nullptr;
  const float* original_residual = nullptr;
  const int64_t* partners = nullptr;
  const float* weights = nullptr;  // [n], or null

  RowsThere From(int64_t first, int64_t n_some) const;
};

struct SumsShape {
  int64_t n_cols = 0;
  int64_t residual_cols = 0;  // 0: no sums of residuals
  bool of_expert = false;
  bool weighted = false;
};

class DeviceSums {
 public:
  // ResourceExhausted if they would take more than most of what is free: what
  // is computed beside them needs some, too.
  // `fast` may be null and must outlive it.
  static absl::StatusOr<std::unique_ptr<DeviceSums>> Create(
      const Device& device, const SumsShape& shape, const StatsNeeds& needs,
      FastGrams* fast = nullptr);

  // `weights`, of the host: those of `rows`; empty without weights.
  absl::Status Add(const RowsThere& rows, absl::Span<const float> weights,
                   DeviceStream* stream);
  int64_t room() const { return max_gathered_ - n_gathered_; }
  // As InputSums has them: of rows that lie one behind the other.
  bool takes_whole() const;
  absl::Status AddWhole(const float* rows, int64_t n, DeviceStream* stream);

  // Rows that are kept out of the sums, with their weights.
  absl::Status HoldOut(const RowsThere& rows, absl::Span<const float> weights,
                       const Device& device, DeviceStream* stream);

  // Nothing is left in the sums.
  absl::Status Finish(ThreadPool* pool, DeviceStream* stream,
                      LayerStats* stats);

 private:
  DeviceSums(const SumsShape& shape, const StatsNeeds& needs, FastGrams* fast);
  absl::Status AddRows(const float* rows, int64_t n, DeviceStream* stream);
  absl::Status Flush(DeviceStream* stream);

  const SumsShape shape_;
  const StatsNeeds needs_;
  FastGrams* const fast_;
  const int64_t max_gathered_;
  DeviceBuffer memory_;
  // In memory_, or null where nothing is asked of them.
  double *gram_ = nullptr, *cross_ = nullptr, *residual_ = nullptr;
  double *squares_ = nullptr, *magnitudes_ = nullptr;
  float *most_ = nullptr, *least_ = nullptr;
  // Rows gathered, and room for max_gathered_.
  float *inputs_ = nullptr, *drifts_ = nullptr, *residuals_ = nullptr,
        *weights_ = nullptr;
  int64_t n_gathered_ = 0;
  int64_t n_rows_ = 0;
  double weight_ = 0;
  std::shared_ptr<HeldOutRows> held_out_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATS_DEVICE_SUMS_H_
