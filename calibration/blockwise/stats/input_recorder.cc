// Tested by: stats_collector_test, block_calibrator_test.

#include "calibration/blockwise/stats/input_recorder.h"

#include <algorithm>

namespace narrow {

bool SameRows::AsBefore(const LayerInput& input) {
  const bool same = rows_ == input.rows && n_rows_ == input.n_rows &&
                    n_cols_ == input.n_cols && expert_ == input.expert &&
                    first_token_ == input.token(0) && name_ != input.name;
  rows_ = input.rows;
  n_rows_ = input.n_rows;
  n_cols_ = input.n_cols;
  expert_ = input.expert;
  first_token_ = input.token(0);
  name_ = std::string(input.name);
  return same;
}

void InputRecorder::Ask(const std::vector<std::string>& names, bool residual) {
  names_ = std::set<std::string>(names.begin(), names.end());
  residual_ = residual;
}

absl::Status InputRecorder::OnInput(const LayerInput& input) {
  if (input.n_rows == 0 ||
      (!names_.empty() && names_.count(std::string(input.name)) == 0)) {
    return absl::OkStatus();
  }
  const std::pair<std::string, int> key(input.name, input.expert);
  if (same_.AsBefore(input)) {
    index_[key] = last_;
    return absl::OkStatus();
  }
  const auto [at, is_new] = index_.emplace(key, recorded_.size());
  if (is_new) {
    recorded_.emplace_back();
  }
  last_ = at->second;
  Recorded& recorded = recorded_[last_];
  recorded.n_cols = input.n_cols;
  recorded.rows.insert(recorded.rows.end(), input.rows,
                       input.rows + input.n_rows * input.n_cols);
  if (residual_ && input.residual != nullptr) {
    recorded.residual_cols = input.residual_cols;
    recorded.residuals.insert(
        recorded.residuals.end(), input.residual,
        input.residual + input.n_rows * input.residual_cols);
  }
  for (int64_t r = 0; r < input.n_rows; ++r) {
    recorded.tokens.push_back(input.token(r));
  }
  return absl::OkStatus();
}

const float* InputRecorder::Find(absl::string_view name, int expert,
                                 int64_t token,
                                 std::vector<float> Recorded::*values,
                                 int64_t Recorded::*n_cols) const {
  const auto found = index_.find({std::string(name), expert});
  if (found == index_.end()) {
    return nullptr;
  }
  const Recorded& recorded = recorded_[found->second];
  const auto at =
      std::lower_bound(recorded.tokens.begin(), recorded.tokens.end(), token);
  if (at == recorded.tokens.end() || *at != token ||
      (recorded.*values).empty()) {
    return nullptr;
  }
  return (recorded.*values).data() +
         (at - recorded.tokens.begin()) * recorded.*n_cols;
}

void InputRecorder::Clear() {
  for (Recorded& recorded : recorded_) {
    recorded.tokens.clear();
    recorded.rows.clear();
    recorded.residuals.clear();
  }
  same_.Forget();
}

}  // namespace narrow
