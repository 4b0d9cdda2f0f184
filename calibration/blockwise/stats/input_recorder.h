// Keeps what goes into the linear layers of a block, to be compared with what
// goes in when the model is quantized.
//
//   InputRecorder recorder;
//   RETURN_IF_ERROR(original->RunBlock(b, &recorder, &hidden));
//   const float* x = recorder.Find("blk.0.ffn_down.weight", -1, token);
//   recorder.Clear();
//
// Layers that are fed by one input share its rows. Belongs to one thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_RECORDER_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "calibration/model_runner.h"

namespace narrow {

// Tells whether a call of an observer shows the rows of the call before it,
// for another layer.
class SameRows {
 public:
  // And remembers this call.
  bool AsBefore(const LayerInput& input);
  void Forget() { rows_ = nullptr; }

 private:
  const float* rows_ = nullptr;
  int64_t n_rows_ = 0, n_cols_ = 0, first_token_ = 0;
  int expert_ = -1;
  std::string name_;
};

class InputRecorder : public Observer {
 public:
  // Only layers of these names are recorded from now on; empty: all. With
  // `residual` also what their outputs are added to.
  void Ask(const std::vector<std::string>& names, bool residual);

  absl::Status OnInput(const LayerInput& input) override;

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
  struct Recorded {
    int64_t n_cols = 0;
    std::vector<int64_t> tokens;  // rising
    std::vector<float> rows;
    int64_t residual_cols = 0;
    std::vector<float> residuals;  // of every token or of none
  };

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
