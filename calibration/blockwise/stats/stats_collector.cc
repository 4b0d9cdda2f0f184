// Tested by: stats_collector_test, block_calibrator_test.

#include "calibration/blockwise/stats/stats_collector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/rows/device/device_rows.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Numbers of rows a task copies.
constexpr int64_t kTaskNumbers = int64_t{1} << 14;

// The weights of the tokens that a layer or an expert sees.
class TokenLookup {
 public:
  TokenLookup(const TokenWeights* weights, const LayerInput& input) {
    if (weights != nullptr) {
      by_token_ = weights->Find(input.name);
      of_expert_ = weights->FindExpert(input.name, input.expert);
    }
  }

  float Of(int64_t token) const {
    if (of_expert_ != nullptr) {
      const std::vector<int64_t>& tokens = of_expert_->tokens;
      const auto at = std::lower_bound(tokens.begin(), tokens.end(), token);
      return at != tokens.end() && *at == token
                 ? of_expert_->weights[static_cast<size_t>(at - tokens.begin())]
                 : 1;
    }
    return by_token_ == nullptr ? 1 : (*by_token_)[static_cast<size_t>(token)];
  }

 private:
  const TokenWeights::Values* by_token_ = nullptr;
  const TokenWeights::ExpertValues* of_expert_ = nullptr;
};

}  // namespace

StatsCollector::StatsCollector(const Checkpoint* model, ThreadPool* pool,
                               const ObserveRequest& request,
                               double expert_rows_per_column)
    : model_(model),
      pool_(pool),
      needs_(request.needs),
      names_(request.layers.begin(), request.layers.end()),
      weights_(request.weights),
      expert_rows_per_column_(expert_rows_per_column) {}

StatsCollector::~StatsCollector() = default;

void StatsCollector::BeginGroup(int64_t first_sample, int64_t sample_tokens,
                                const TokenUse* uses, InputRecorder* original) {
  first_sample_ = first_sample;
  sample_tokens_ = sample_tokens;
  uses_ = uses;
  original_ = original;
  has_rows_of_group_ = false;
  same_.Forget();
}

// The input that the rows belong to; nullptr if they are in its sums already.
absl::StatusOr<StatsCollector::Input*> StatsCollector::Enter(
    const LayerInput& input, int64_t number) {
  const std::string name(input.name);
  const bool same = same_.AsBefore(input, number);
  auto found = index_.find(name);
  if (found == index_.end() && same &&
      ShareWeights(name, inputs_[last_].names[0])) {
    inputs_[last_].names.push_back(name);
    index_[name] = last_;
    return nullptr;
  }
  if (found != index_.end() && same && found->second == last_) {
    return nullptr;
  }
  if (found == index_.end()) {
    const CheckpointTensor* tensor = model_->Find(name);
    Input made;
    made.names.push_back(name);
    made.n_cols = input.n_cols;
    made.stacked = input.expert >= 0;
    made.weighted = weights_ != nullptr;
    made.residual_cols =
        needs_.residual && input.residual != nullptr ? input.residual_cols : 0;
    int64_t n_matrices = 1;
    if (made.stacked) {
      if (tensor == nullptr || tensor->meta.shape.size() != 3 ||
          input.expert >= tensor->meta.shape[0]) {
        return absl::InternalError(absl::StrCat(
            "rows for expert ", input.expert, " of ", name, ", which has ",
            tensor == nullptr ? 0 : tensor->meta.shape[0]));
      }
      n_matrices = tensor->meta.shape[0];
    }
    made.sums.resize(static_cast<size_t>(n_matrices));
    found = index_.emplace(name, inputs_.size()).first;
    inputs_.push_back(std::move(made));
  }
  last_ = found->second;
  Input* const entered = &inputs_[last_];
  if (name != entered->names[0] || input.n_cols != entered->n_cols ||
      (input.expert >= 0) != entered->stacked ||
      std::max(0, input.expert) >= static_cast<int>(entered->sums.size())) {
    return absl::InternalError(absl::StrCat(name, ", expert ", input.expert,
                                            ", no longer sees the rows of ",
                                            entered->names[0]));
  }
  return entered;
}

// `x`: that row, on the host.
absl::Status StatsCollector::NotFinite(const LayerInput& input, int64_t row,
                                       const float* x) const {
  const float* const bad = std::find_if(
      x, x + input.n_cols, [](float v) { return !std::isfinite(v); });
  const int64_t token = input.token(row);
  return absl::DataLossError(absl::StrCat(
      "the input of ", input.name,
      input.expert < 0 ? "" : absl::StrCat(", expert ", input.expert, ","),
      " is not finite, first at sample ",
      first_sample_ + token / sample_tokens_, ", token ",
      token % sample_tokens_, ", column ", bad - x, "; reading ",
      model_->path()));
}

// Rows [first, first + n) are finite.
absl::Status StatsCollector::CheckRows(const LayerInput& input, int64_t first,
                                       int64_t n) const {
  std::vector<uint8_t> finite(static_cast<size_t>(n));
  const int64_t rows_per_task =
      std::max<int64_t>(1, kTaskNumbers / input.n_cols);
  pool_->ParallelFor(
      (n + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
        const int64_t end = std::min(n, (task + 1) * rows_per_task);
        for (int64_t i = task * rows_per_task; i < end; ++i) {
          finite[static_cast<size_t>(i)] = RowKernelsForCpu().all_finite(
              input.rows + (first + i) * input.n_cols, input.n_cols);
        }
      });
  const auto bad = std::find(finite.begin(), finite.end(), 0);
  if (bad == finite.end()) {
    return absl::OkStatus();
  }
  const int64_t row = first + (bad - finite.begin());
  return NotFinite(input, row, input.rows + row * input.n_cols);
}

// What the request says of these rows is put where it belongs.
absl::Status StatsCollector::Gather(const LayerInput& input,
                                    absl::Span<const int64_t> rows,
                                    const RowPlaces& places) {
  const int64_t n_cols = input.n_cols, n_residual = input.residual_cols;
  const TokenLookup weights(weights_, input);
  const bool pairs = places.originals != nullptr || places.drifts != nullptr;
  const int64_t n = static_cast<int64_t>(rows.size());
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskNumbers / n_cols);
  const int64_t n_tasks = (n + rows_per_task - 1) / rows_per_task;
  // Of each task the first row that is not finite, or -1.
  std::vector<int64_t> bad(static_cast<size_t>(n_tasks), -1);
  const auto gather = [&](int64_t i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    const int64_t token = input.token(row);
    const float* const z = input.rows + row * n_cols;
    if (!RowKernelsForCpu().all_finite(z, n_cols)) {
      return false;
    }
    std::copy_n(z, n_cols, places.inputs + i * n_cols);
    if (places.weights != nullptr) {
      places.weights[i] = weights.Of(first_sample_ * sample_tokens_ + token);
    }
    if (pairs) {
      const float* x = original_->Find(input.name, input.expert, token);
      x = x == nullptr ? z : x;
      if (places.originals != nullptr) {
        std::copy_n(x, n_cols, places.originals + i * n_cols);
      }
      for (int64_t j = 0; places.drifts != nullptr && j < n_cols; ++j) {
        places.drifts[i * n_cols + j] = x[j] - z[j];
      }
    }
    if (places.residuals != nullptr) {
      const float* const s = input.residual + row * n_residual;
      const float* const r =
          original_->FindResidual(input.name, input.expert, token);
      for (int64_t j = 0; j < n_residual; ++j) {
        places.residuals[i * n_residual + j] = r == nullptr ? 0 : r[j] - s[j];
      }
    }
    return true;
  };
  pool_->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t end = std::min(n, (task + 1) * rows_per_task);
    for (int64_t i = task * rows_per_task; i < end; ++i) {
      if (!gather(i)) {
        bad[static_cast<size_t>(task)] = rows[static_cast<size_t>(i)];
        return;
      }
    }
  });
  for (const int64_t row : bad) {
    if (row >= 0) {
      return NotFinite(input, row, input.rows + row * n_cols);
    }
  }
  return absl::OkStatus();
}

// Whether tokens count the same for two layers.
bool StatsCollector::ShareWeights(const std::string& a,
                                  const std::string& b) const {
  if (weights_ == nullptr) {
    return true;
  }
  if (weights_->Find(a) != weights_->Find(b)) {
    return false;
  }
  const CheckpointTensor* tensor = model_->Find(a);
  const bool stacked = tensor != nullptr && tensor->meta.shape.size() == 3;
  const int64_t n_experts = stacked ? tensor->meta.shape[0] : 0;
  for (int e = 0; e < n_experts; ++e) {
    if (weights_->FindExpert(a, e) != weights_->FindExpert(b, e)) {
      return false;
    }
  }
  return true;
}

std::unique_ptr<InputSums> StatsCollector::NewSums(const Input& input) const {
  return std::make_unique<InputSums>(input.n_cols, input.residual_cols,
                                     input.stacked, input.weighted, needs_);
}

bool StatsCollector::IsAsked(const LayerInput& input) const {
  return input.n_rows > 0 &&
         (names_.empty() || names_.count(std::string(input.name)) > 0);
}

void StatsCollector::Split(const LayerInput& input) {
  summed_.clear();
  held_out_.clear();
  for (int64_t r = 0; r < input.n_rows; ++r) {
    const TokenUse use = uses_[input.token(r)];
    if (use != TokenUse::kNone) {
      (use == TokenUse::kSummed ? summed_ : held_out_).push_back(r);
    }
  }
}

absl::Status StatsCollector::OnInput(const LayerInput& input) {
  if (!IsAsked(input)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Input* const entered, Enter(input, 0));
  return entered == nullptr ? absl::OkStatus() : AddHere(input, entered);
}

absl::Status StatsCollector::AddHere(const LayerInput& input, Input* entered) {
  has_rows_of_group_ = true;
  Split(input);
  std::unique_ptr<InputSums>& sums =
      entered->sums[static_cast<size_t>(std::max(0, input.expert))].here;
  if (sums == nullptr) {
    sums = NewSums(*entered);
  }
  for (absl::Span<const int64_t> rest = summed_; !rest.empty();) {
    int64_t n = static_cast<int64_t>(rest.size());
    const bool neighbours = rest.back() - rest.front() == n - 1;
    if (neighbours && n >= kGramBlockRows && sums->takes_whole()) {
      n = n / kGramBlockRows * kGramBlockRows;
      RETURN_IF_ERROR(CheckRows(input, rest.front(), n));
      sums->AddWhole(input.rows + rest.front() * input.n_cols, n, pool_);
      rest.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    n = std::min(sums->room(), n);
    RETURN_IF_ERROR(
        Gather(input, rest.first(static_cast<size_t>(n)), sums->MakeRoom(n)));
    sums->Added(n, pool_);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return held_out_.empty() ? absl::OkStatus()
                           : Gather(input, held_out_,
                                    sums->MakeHeldOutRoom(static_cast<int64_t>(
                                        held_out_.size())));
}

absl::StatusOr<bool> StatsCollector::OnDevice(const DeviceInput& there) {
  if (!IsAsked(there.input)) {
    return true;
  }
  ASSIGN_OR_RETURN(Input* const entered, Enter(there.input, there.number));
  if (entered == nullptr) {
    return true;
  }
  ASSIGN_OR_RETURN(const bool fits, SumThere(there, entered));
  RETURN_IF_ERROR(
      fits
          ? AddThere(
                there,
                entered
                    ->sums[static_cast<size_t>(std::max(0, there.input.expert))]
                    .there.get())
          : CopyAndAdd(there, entered));
  return true;
}

absl::StatusOr<bool> StatsCollector::SumThere(const DeviceInput& there,
                                              Input* entered) {
  Sums& sums =
      entered->sums[static_cast<size_t>(std::max(0, there.input.expert))];
  if (sums.there != nullptr || sums.here != nullptr) {
    return sums.there != nullptr;
  }
  auto made = DeviceSums::Create(*there.device,
                                 {entered->n_cols, entered->residual_cols,
                                  entered->stacked, entered->weighted},
                                 needs_, fast_);
  if (absl::IsResourceExhausted(made.status())) {
    if (note_) {
      note_(absl::StrCat("the processor sums the inputs of ", there.input.name,
                         ": ", made.status().message()));
    }
    return false;
  }
  RETURN_IF_ERROR(made.status());
  sums.there = *std::move(made);
  return true;
}

// The rows here, and those of the original that belong to them.
absl::Status StatsCollector::CopyAndAdd(const DeviceInput& there,
                                        Input* entered) {
  LayerInput input = there.input;
  const auto copy = [&](const float* from, int64_t n, std::vector<float>* to) {
    to->resize(static_cast<size_t>(n));
    return there.stream->Copy(from, to->size() * sizeof(float), to->data());
  };
  RETURN_IF_ERROR(copy(input.rows, input.n_rows * input.n_cols, &rows_copy_));
  input.rows = rows_copy_.data();
  if (entered->residual_cols > 0) {
    RETURN_IF_ERROR(copy(input.residual, input.n_rows * input.residual_cols,
                         &residual_copy_));
    input.residual = residual_copy_.data();
  }
  RETURN_IF_ERROR(there.stream->Synchronize("the input of a layer"));
  if (original_ != nullptr) {
    RETURN_IF_ERROR(original_->Fetch(input.name, input.expert, there.stream));
  }
  return AddHere(input, entered);
}

// Places and weights of the call's rows go to the device: first those of rows
// that are summed, then of those held out.
absl::StatusOr<RowsThere> StatsCollector::Locate(const DeviceInput& there) {
  const LayerInput& input = there.input;
  const TokenLookup weights(weights_, input);
  const size_t n_all = summed_.size() + held_out_.size();
  RowsThere rows;
  rows.inputs = input.rows;
  rows.residual = input.residual;
  rows.n = static_cast<int64_t>(n_all);
  std::optional<RecordedThere> original;
  if (original_ != nullptr) {
    original = original_->FindThere(input.name, input.expert);
  }
  if (original.has_value()) {
    rows.originals = original->rows;
    rows.original_residual = original->residuals;
    if (needs_.residual && input.residual != nullptr &&
        original->residuals == nullptr) {
      return absl::InternalError(
          absl::StrCat("the original's residual stream at ", input.name,
                       " was not recorded"));
    }
  }
  indices_ = summed_;
  indices_.insert(indices_.end(), held_out_.begin(), held_out_.end());
  indices_.resize(2 * n_all);
  weights_of_rows_.resize(n_all);
  for (size_t i = 0; i < n_all; ++i) {
    const int64_t token = input.token(indices_[i]);
    weights_of_rows_[i] = weights.Of(first_sample_ * sample_tokens_ + token);
    indices_[n_all + i] = original.has_value() ? original->Find(token) : -1;
  }
  const size_t index_bytes = indices_.size() * sizeof(int64_t);
  const size_t weight_bytes = n_all * sizeof(float);
  const size_t n_bytes =
      index_bytes + weight_bytes + static_cast<size_t>(input.n_rows);
  if (places_.n_bytes() < n_bytes) {
    places_ = DeviceBuffer();
    ASSIGN_OR_RETURN(places_,
                     there.device->Allocate(n_bytes, "places of tokens"));
  }
  auto* const indices = places_.as<int64_t>();
  auto* const on_device = reinterpret_cast<float*>(indices + indices_.size());
  RETURN_IF_ERROR(there.stream->Copy(indices_.data(), index_bytes, indices));
  RETURN_IF_ERROR(
      there.stream->Copy(weights_of_rows_.data(), weight_bytes, on_device));
  rows.rows = indices;
  rows.partners = indices + n_all;
  rows.weights = on_device;
  return rows;
}

// That the rows which count are finite, as CheckRows has it; and all that was
// queued for them is done.
absl::Status StatsCollector::CheckThere(const DeviceInput& there) {
  const LayerInput& input = there.input;
  const size_t n_all = summed_.size() + held_out_.size();
  auto* const on_device = places_.as<uint8_t>() +
                          indices_.size() * sizeof(int64_t) +
                          n_all * sizeof(float);
  const auto n_rows = static_cast<size_t>(input.n_rows);
  RETURN_IF_ERROR(there.stream->Fill(0, n_rows, on_device));
  RETURN_IF_ERROR(
      RunRows(row_threads::FiniteTask{input.rows, input.n_rows, input.n_cols,
                                      input.n_cols, on_device},
              there.stream));
  std::vector<uint8_t> flags(n_rows);
  RETURN_IF_ERROR(there.stream->Copy(on_device, n_rows, flags.data()));
  RETURN_IF_ERROR(there.stream->Synchronize("the input of a layer"));
  for (size_t i = 0; i < n_all; ++i) {
    const int64_t row = indices_[i];
    if (flags[static_cast<size_t>(row)] != 0) {
      std::vector<float> x(static_cast<size_t>(input.n_cols));
      RETURN_IF_ERROR(there.stream->Copy(input.rows + row * input.n_cols,
                                         x.size() * sizeof(float), x.data()));
      RETURN_IF_ERROR(there.stream->Synchronize("the input of a layer"));
      return NotFinite(input, row, x.data());
    }
  }
  return absl::OkStatus();
}

absl::Status StatsCollector::AddThere(const DeviceInput& there,
                                      DeviceSums* sums) {
  const LayerInput& input = there.input;
  Split(input);
  ASSIGN_OR_RETURN(const RowsThere rows, Locate(there));
  has_rows_of_group_ = true;
  stream_ = there.stream;
  const auto n_summed = static_cast<int64_t>(summed_.size());
  const absl::Span<const float> weights = weights_of_rows_;
  for (int64_t first = 0; first < n_summed;) {
    int64_t n = n_summed - first;
    const int64_t row = summed_[static_cast<size_t>(first)];
    const bool neighbours = summed_.back() - row == n - 1;
    if (neighbours && n >= kGramBlockRows && sums->takes_whole()) {
      n = n / kGramBlockRows * kGramBlockRows;
      RETURN_IF_ERROR(
          sums->AddWhole(input.rows + row * input.n_cols, n, there.stream));
    } else {
      // To the next whole block, after which others may be taken as they lie.
      n = std::min(n, sums->room());
      RETURN_IF_ERROR(sums->Add(
          rows.From(first, n),
          weights.subspan(static_cast<size_t>(first), static_cast<size_t>(n)),
          there.stream));
    }
    first += n;
  }
  if (!held_out_.empty()) {
    RETURN_IF_ERROR(
        sums->HoldOut(rows.From(n_summed, rows.n - n_summed),
                      weights.subspan(static_cast<size_t>(n_summed)),
                      *there.device, there.stream));
  }
  return CheckThere(there);
}

absl::Status StatsCollector::Fetch() {
  for (Input& input : inputs_) {
    for (Sums& sums : input.sums) {
      if (sums.there != nullptr) {
        sums.fetched.emplace();
        RETURN_IF_ERROR(sums.there->Finish(pool_, stream_, &*sums.fetched));
        sums.there.reset();
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
