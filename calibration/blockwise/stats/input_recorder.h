// Keeps what goes into the linear layers of a block, to be compared with what
// goes in when the model is quantized.
//
//   InputRecorder recorder;
//   RETURN_IF_ERROR(original->RunBlock(b, &recorder, &hidden));
//   const float* x = recorder.Find("blk.0.ffn_down.weight", -1, token);
//   recorder.Clear();
//
// Rows that lie on a device stay there, in memory of the recorder's:
//
//   const RecordedThere* x = recorder.FindThere("blk.0.ffn_down.weight", -1);
//
// Layers that are fed by one input share its rows. Belongs to one thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_RECORDER_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/model_runner.h"
#include "kernels/device.h"

namespace narrow {

// Tells whether a call of an observer shows the rows of the call before it,
// for another layer.
class SameRows {
 public:
  // And remembers this call. `number`: DeviceInput's, 0 for rows on the host.
  bool AsBefore(const LayerInput& input, int64_t number = 0);
  void Forget() { rows_ = nullptr; }

 private:
  const float* rows_ = nullptr;
  int64_t n_rows_ = 0, n_cols_ = 0, first_token_ = 0;
  int expert_ = -1;
  int64_t number_ = 0;
  std::string name_;
};

// Rows on a device, of the tokens beside it.
struct RecordedThere {
  const float* rows = nullptr;
  const float* residuals = nullptr;  // null: none was shown
  const std::vector<int64_t>* tokens = nullptr;

  // The row of a token, or -1.
  int64_t Find(int64_t token) const;
};

class InputRecorder : public Observer {
 public:
  // Only layers of these names are recorded from now on; empty: all. With
  // `residual` also what their outputs are added to.
  void Ask(const std::vector<std::string>& names, bool residual);

  absl::Status OnInput(const LayerInput& input) override;
  // ResourceExhausted: the device's memory is short.
  absl::StatusOr<bool> OnDevice(const DeviceInput& there) override;

  // What was recorded of a layer on a device; nullopt if nothing.
  std::optional<RecordedThere> FindThere(absl::string_view name,
                                         int expert) const;
  // From now on Find finds a layer's rows that were recorded on a device.
  absl::Status Fetch(absl::string_view name, int expert, DeviceStream* stream);

  // The row of `token`; nullptr if that layer (or expert) did not see it.
  const float* Find(absl::string_view name, int expert, int64_t token) const {
    return Find(name, expert, token, &Recorded::rows, &Recorded::n_cols);
  }
  // What that row's product is added to; nullptr if that was not shown.
  const float* FindResidual(absl::string_view name, int expert,
                            int64_t token) const {
    return Find(name, expert, token, &Recorded::residuals,
                &Recorded::residual_cols);
  }

  // Forgets all rows; their memory stays for the next ones.
  void Clear();

 private:
  // Floats on a device.
  struct Floats {
    DeviceBuffer memory;
    int64_t n = 0;

    absl::Status Append(const float* from, int64_t n_more,
                        const DeviceInput& there);
    absl::Status CopyTo(std::vector<float>* to, DeviceStream* stream) const;
  };
  struct Recorded {
    int64_t n_cols = 0;
    std::vector<int64_t> tokens;  // rising
    std::vector<float> rows;
    int64_t residual_cols = 0;
    std::vector<float> residuals;  // of every token or of none
    Floats rows_there, residuals_there;
  };

  bool IsAsked(const LayerInput& input) const;
  // Where the input's rows go; nullptr if they are there already.
  Recorded* Enter(const LayerInput& input, int64_t number);
  static void AddTokens(const LayerInput& input, Recorded* recorded);

  const float* Find(absl::string_view name, int expert, int64_t token,
                    std::vector<float> Recorded::*values,
                    int64_t Recorded::*n_cols) const;

  std::set<std::string> names_;
  bool residual_ = false;
  std::map<std::pair<std::string, int>, size_t> index_;  // into recorded_
  std::vector<Recorded> recorded_;
  SameRows same_;
  size_t last_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_RECORDER_H_
