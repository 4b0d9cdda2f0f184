// The grids of kernels/grid on a device, many matrices of one shape and grid
// at once (the experts of a layer), with the very bits of FitGroups,
// RoundRows, Feedback, Descend and GramError.
//
//   ASSIGN_OR_RETURN(auto grid, DeviceGrid::New(device, spec, rows, cols, n));
//   RETURN_IF_ERROR(grid->SetTargets(weights, &stream));
//   RETURN_IF_ERROR(grid->FitGroups(column_weights, options, &stream));
//   RETURN_IF_ERROR(grid->Feedback(feed, &stream));
//   ASSIGN_OR_RETURN(auto errors, grid->Descend(gram, {}, &stream));
//   RETURN_IF_ERROR(grid->Read(0, &rows, &stream));
//
// Pointers are the device's but for GridRows. What goes on inside a row is in
// grid_tasks.h; across columns it is products of kernels/linalg/device, or of
// kernels/matmul/device where bits may differ (MultiplyBy). One thread at a
// time.

#ifndef NARROW_KERNELS_GRID_DEVICE_DEVICE_GRID_H_
#define NARROW_KERNELS_GRID_DEVICE_DEVICE_GRID_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/grid/device/grid_tasks.h"
#include "kernels/grid/grid.h"
#include "kernels/grid/grid_rules.h"
#include "kernels/matmul/device/stacked_products.h"

namespace narrow {

// M and the orders of columns of each matrix (FeedbackFactor).
struct DeviceFeed {
  const float* m = nullptr;  // [n_batch, n, n], by places
  // The host's, [n_batch, n]: column at a place; empty: the natural order.
  absl::Span<const int32_t> order;
  // Fit groups as compensated on entering, under `column_weights` [n_batch, n]
  // by columns; otherwise their scales stay.
  bool fit_on_entry = false;
  const float* column_weights = nullptr;
  FitOptions fit;
};

struct DeviceDescent {
  int rounds = 3;  // of (refit, sweep)
  bool refit = true;
  bool sweep = true;
};

// tr((T - Q) H (T - Q)^T) of a matrix.
struct DescentErrors {
  double before = 0;
  double after = 0;
};

class DeviceGrid {
 public:
  // What there is memory for: all of it, or fits, rounding and decoding, and
  // errors under scaled columns, which take 17 bytes a weight.
  enum class Use { kSolving, kRounding };

  // Scales 1, zeros and codes as those of a GridRows.
  static absl::StatusOr<std::unique_ptr<DeviceGrid>> New(
      const Device& device, const GridSpec& spec, int64_t n_rows,
      int64_t n_cols, int64_t n_batch, Use use = Use::kSolving);

  // What reaches past a few columns, and errors, is multiplied by these, on
  // tensor cores: last digits are not the processor's. Must outlive the grid.
  void MultiplyBy(StackedProducts* products) { stacked_ = products; }

  // [n_batch, n_rows, n_cols].
  absl::Status SetTargets(const float* rows, DeviceStream* stream);
  // One matrix for all, [n_rows, n_cols], times each one's scales of columns
  // [n_batch, n_cols].
  absl::Status SetScaledTargets(const float* rows, const float* scales,
                                DeviceStream* stream);
  // Scales, zeros and codes of a matrix, from the host and to it.
  absl::Status Write(int64_t batch, const GridRows& rows, DeviceStream* stream);
  absl::Status Read(int64_t batch, GridRows* rows, DeviceStream* stream);

  // `column_weights` [n_batch, n_cols], or null for 1.
  absl::Status FitGroups(const float* column_weights, const FitOptions& options,
                         DeviceStream* stream);
  absl::Status RoundRows(DeviceStream* stream);
  // What codes are worth, [n_batch, n_rows, n_cols].
  absl::Status DecodeRows(float* rows, DeviceStream* stream);
  absl::Status Feedback(const DeviceFeed& feed, DeviceStream* stream);
  // Under the Gram matrices [n_batch, n, n] in float32. Waits.
  absl::StatusOr<std::vector<DescentErrors>> Descend(
      const float* gram, const DeviceDescent& options, DeviceStream* stream);
  // One a matrix; of zeros in the place of values if `of_nothing`. Waits.
  absl::StatusOr<std::vector<double>> Errors(const float* gram, bool of_nothing,
                                             DeviceStream* stream);

  // After SetScaledTargets: tr((T - Q / S) H (T - Q / S)^T) of the rows T that
  // it was given, one a matrix, under one Gram matrix [n, n] for all. Waits.
  absl::StatusOr<std::vector<double>> ScaledErrors(const float* scales,
                                                   const float* gram,
                                                   DeviceStream* stream);

  // A second set of scales and codes: changes places with the first one; takes
  // all of it; gives those of the matrices whose entry [n_batch] is not 0.
  void Swap();
  absl::Status CopyToOther(DeviceStream* stream);
  absl::Status TakeFromOther(const std::vector<uint8_t>& matrices,
                             DeviceStream* stream);

 private:
  struct State {
    DeviceBuffer codes;
    DeviceBuffer scales;
    DeviceBuffer zeros;
    grid_tasks::Codes view() const;
  };

  DeviceGrid(const Device& device, const GridSpec& spec) : device_(device) {
    rules_ = MakeGridRules(spec);
  }
  absl::Status Allocate(DeviceBuffer* buffer, int64_t n_bytes);
  absl::Status AllocateForSolving();
  absl::Status NewState(State* state);
  absl::Status Upload(const void* from, size_t n_bytes, DeviceBuffer* to,
                      DeviceStream* stream);
  absl::StatusOr<FitPlan> UploadPlan(const GridSpec& spec,
                                     const FitOptions& options,
                                     DeviceStream* stream);
  // out[columns of gram] += gram[begin ..., .]^T changes, for columns
  // [first, end) and changes of columns [begin, begin + n).
  absl::Status AddProducts(const float* gram, int64_t begin, int64_t n,
                           int64_t first, int64_t end, const float* changes,
                           int64_t changes_step, float* out,
                           DeviceStream* stream);
  absl::Status AddStacked(const float* gram, int64_t begin, int64_t n,
                          int64_t first, int64_t end, const float* changes,
                          int64_t changes_step, float* out,
                          DeviceStream* stream);
  absl::Status FeedStrips(const DeviceFeed& feed, const int32_t* order,
                          int64_t begin, int64_t end, DeviceStream* stream);
  absl::Status FitEntered(const DeviceFeed& feed, const FitPlan& plan,
                          int64_t place, DeviceStream* stream);
  // Of a Gram matrix a matrix, or of one for all.
  absl::StatusOr<std::vector<double>> Measure(const float* gram, bool is_shared,
                                              DeviceStream* stream);
  absl::Status ImproveGroup(const float* gram, int64_t group,
                            const DeviceDescent& options, DeviceStream* stream);
  absl::Status Sweep(const float* gram, int64_t group, DeviceStream* stream);
  std::vector<double> SumRows(const std::vector<double>& rows) const;

  Device device_;
  GridSpec spec_;
  GridRules rules_;
  grid_tasks::Shape shape_ = {};
  StackedProducts* stacked_ = nullptr;
  State now_;
  State other_;
  DeviceBuffer table_;  // levels by code
  DeviceBuffer starts_;
  DeviceBuffer ones_weights_;  // [n_batch, n_cols], 1
  DeviceBuffer targets_;       // by columns
  DeviceBuffer values_;
  DeviceBuffer gradient_;  // or what columns have become, by places
  DeviceBuffer scratch_;   // as targets
  DeviceBuffer errors_;    // [n_batch, kFar, ld]
  DeviceBuffer before_;    // [n_batch, group, ld]
  DeviceBuffer levels_;    // the same
  DeviceBuffer order_;
  DeviceBuffer ones_;  // [n_batch, n_cols]
  DeviceBuffer sums_;  // [n_batch, n_rows], doubles
  DeviceBuffer was_;   // the same
  DeviceBuffer flags_;
  std::vector<std::vector<int32_t>> group_at_;  // of a place, by matrix
};

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_DEVICE_DEVICE_GRID_H_
