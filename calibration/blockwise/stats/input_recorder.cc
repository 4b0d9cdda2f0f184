// Tested by: stats_collector_test, block_calibrator_test.

#include "calibration/blockwise/stats/input_recorder.h"

#include <algorithm>
#include <utility>

#include "formats/base/status.h"

namespace narrow {

bool SameRows::AsBefore(const LayerInput& input, int64_t number) {
  // On a device the place of rows is used again for others.
  const bool same = number == number_ && rows_ == input.rows &&
                    n_rows_ == input.n_rows && n_cols_ == input.n_cols &&
                    expert_ == input.expert && first_token_ == input.token(0) &&
                    name_ != input.name;
  rows_ = input.rows;
  n_rows_ = input.n_rows;
  n_cols_ = input.n_cols;
  expert_ = input.expert;
  number_ = number;
  first_token_ = input.token(0);
  name_ = std::string(input.name);
  return same;
}

int64_t RecordedThere::Find(int64_t token) const {
  const auto at = std::lower_bound(tokens->begin(), tokens->end(), token);
  return at == tokens->end() || *at != token ? -1 : at - tokens->begin();
}

absl::Status InputRecorder::Floats::Append(const float* from, int64_t n_more,
                                           const DeviceInput& there) {
  const auto needed = static_cast<size_t>(n + n_more) * sizeof(float);
  if (memory.n_bytes() < needed) {
    ASSIGN_OR_RETURN(
        DeviceBuffer larger,
        there.device->Allocate(std::max(needed, 2 * memory.n_bytes()),
                               "inputs of the original model"));
    RETURN_IF_ERROR(there.stream->Copy(
        memory.data(), static_cast<size_t>(n) * sizeof(float), larger.data()));
    RETURN_IF_ERROR(there.stream->Synchronize("inputs of the original model"));
    memory = std::move(larger);
  }
  RETURN_IF_ERROR(
      there.stream->Copy(from, static_cast<size_t>(n_more) * sizeof(float),
                         memory.as<float>() + n));
  n += n_more;
  return absl::OkStatus();
}

absl::Status InputRecorder::Floats::CopyTo(std::vector<float>* to,
                                           DeviceStream* stream) const {
  to->resize(static_cast<size_t>(n));
  RETURN_IF_ERROR(
      stream->Copy(memory.data(), to->size() * sizeof(float), to->data()));
  return stream->Synchronize("inputs of the original model");
}

void InputRecorder::Ask(const std::vector<std::string>& names, bool residual) {
  names_ = std::set<std::string>(names.begin(), names.end());
  residual_ = residual;
}

bool InputRecorder::IsAsked(const LayerInput& input) const {
  return input.n_rows > 0 &&
         (names_.empty() || names_.count(std::string(input.name)) > 0);
}

InputRecorder::Recorded* InputRecorder::Enter(const LayerInput& input,
                                              int64_t number) {
  const std::pair<std::string, int> key(input.name, input.expert);
  if (same_.AsBefore(input, number)) {
    index_[key] = last_;
    return nullptr;
  }
  const auto [at, is_new] = index_.emplace(key, recorded_.size());
  if (is_new) {
    recorded_.emplace_back();
  }
  last_ = at->second;
  return &recorded_[last_];
}

void InputRecorder::AddTokens(const LayerInput& input, Recorded* recorded) {
  for (int64_t r = 0; r < input.n_rows; ++r) {
    recorded->tokens.push_back(input.token(r));
  }
}

absl::Status InputRecorder::OnInput(const LayerInput& input) {
  Recorded* const recorded = IsAsked(input) ? Enter(input, 0) : nullptr;
  if (recorded == nullptr) {
    return absl::OkStatus();
  }
  recorded->n_cols = input.n_cols;
  recorded->rows.insert(recorded->rows.end(), input.rows,
                        input.rows + input.n_rows * input.n_cols);
  if (residual_ && input.residual != nullptr) {
    recorded->residual_cols = input.residual_cols;
    recorded->residuals.insert(
        recorded->residuals.end(), input.residual,
        input.residual + input.n_rows * input.residual_cols);
  }
  AddTokens(input, recorded);
  return absl::OkStatus();
}

absl::StatusOr<bool> InputRecorder::OnDevice(const DeviceInput& there) {
  const LayerInput& input = there.input;
  Recorded* const recorded =
      IsAsked(input) ? Enter(input, there.number) : nullptr;
  if (recorded == nullptr) {
    return true;
  }
  recorded->n_cols = input.n_cols;
  RETURN_IF_ERROR(recorded->rows_there.Append(
      input.rows, input.n_rows * input.n_cols, there));
  if (residual_ && input.residual != nullptr) {
    recorded->residual_cols = input.residual_cols;
    RETURN_IF_ERROR(recorded->residuals_there.Append(
        input.residual, input.n_rows * input.residual_cols, there));
  }
  AddTokens(input, recorded);
  return true;
}

std::optional<RecordedThere> InputRecorder::FindThere(absl::string_view name,
                                                      int expert) const {
  const auto found = index_.find({std::string(name), expert});
  if (found == index_.end() || recorded_[found->second].rows_there.n == 0) {
    return std::nullopt;
  }
  const Recorded& recorded = recorded_[found->second];
  RecordedThere there;
  there.rows = recorded.rows_there.memory.as<float>();
  if (recorded.residuals_there.n > 0) {
    there.residuals = recorded.residuals_there.memory.as<float>();
  }
  there.tokens = &recorded.tokens;
  return there;
}

absl::Status InputRecorder::Fetch(absl::string_view name, int expert,
                                  DeviceStream* stream) {
  const auto found = index_.find({std::string(name), expert});
  if (found == index_.end()) {
    return absl::OkStatus();
  }
  Recorded& recorded = recorded_[found->second];
  if (recorded.rows.empty()) {
    RETURN_IF_ERROR(recorded.rows_there.CopyTo(&recorded.rows, stream));
    RETURN_IF_ERROR(
        recorded.residuals_there.CopyTo(&recorded.residuals, stream));
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
    recorded.rows_there.n = recorded.residuals_there.n = 0;
  }
  same_.Forget();
}

}  // namespace narrow
