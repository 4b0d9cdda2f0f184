// Shows an observer the rows that lie on a device.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_OBSERVING_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_OBSERVING_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/device/device_context.h"
#include "calibration/model_runner.h"

namespace narrow {

class DeviceObserving {
 public:
  explicit DeviceObserving(DeviceContext* context) : context_(context) {}

  // From now on `observer` is shown what comes; nothing if it is null.
  // `hidden` are the states that the block was given.
  void Begin(Observer* observer, const HiddenStates* hidden) {
    observer_ = observer;
    hidden_ = hidden;
  }

  bool on() const { return observer_ != nullptr; }

  // The next calls of Show are about these rows of floats, of tokens from
  // first_token on, or of one expert's.
  void Take(const float* rows, int64_t n_rows, int64_t n_cols,
            int64_t first_token);
  void TakeExpert(int expert, const float* rows, int64_t n_rows, int64_t n_cols,
                  absl::Span<const int64_t> tokens);
  // To the layer `name`; `added`: whether its product is added to the hidden
  // states as it is.
  absl::Status Show(absl::string_view name, bool added = false);

 private:
  absl::StatusOr<bool> TakenThere(bool added);
  absl::Status GoOn(const ColumnSums& sums);
  absl::Status ShowRows(bool added);

  DeviceContext* const context_;
  Observer* observer_ = nullptr;
  const HiddenStates* hidden_ = nullptr;
  // What Take was told, with rows of the device.
  LayerInput input_;
  int64_t n_taken_ = 0;
  bool is_copied_ = false;
  // Copies of rows for observers that want them, in turn: by the address they
  // know whether two layers see one input.
  std::vector<float> rows_[2];
  size_t next_ = 0;
  std::vector<double> sums_;
  std::vector<float> residual_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_OBSERVING_H_
