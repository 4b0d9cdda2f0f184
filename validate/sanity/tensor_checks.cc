// Tensors: which there are, of what shape and type, and every weight.

#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/weights/weights.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "validate/sanity/checks.h"

namespace narrow {
namespace {

constexpr char kTensors[] = "tensors";
constexpr char kWeights[] = "weights";
// Rows that a thread decodes at once, in weights.
constexpr int64_t kPieceWeights = int64_t{1} << 18;

void Add(SanitySeverity severity, const char* check, const std::string& tensor,
         std::string message, std::string original, std::string candidate,
         SanityReport* report) {
  report->findings.push_back({severity, check, QuotedName(tensor),
                              std::move(message), std::move(original),
                              std::move(candidate)});
}

// Rows of no token, which converters leave out of embeddings.
bool LacksPaddingOnly(const TensorMeta& original, const TensorMeta& candidate,
                      const Checkpoint& model) {
  const MetadataValue* value = model.metadata().Find("tokenizer.ggml.tokens");
  const auto* tokens =
      value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
  return (original.name == "token_embd.weight" ||
          original.name == "output.weight") &&
         original.n_cols() == candidate.n_cols() && tokens != nullptr &&
         std::min(original.n_rows(), candidate.n_rows()) >=
             static_cast<int64_t>(tokens->size());
}

// What decoding a tensor found.
struct TensorState {
  int64_t first_bad = -1;  // element
  float bad = 0;
  bool any = false;  // a weight that is not zero
  absl::Status status;
};

struct Rows {
  size_t tensor;
  int64_t first;
  int64_t n;
};

std::vector<Rows> CutRows(const Checkpoint& model) {
  std::vector<Rows> pieces;
  for (size_t t = 0; t < model.tensors().size(); ++t) {
    const TensorMeta& meta = model.tensors()[t].meta;
    const int64_t step = std::max<int64_t>(
        1, kPieceWeights / std::max<int64_t>(1, meta.n_cols()));
    for (int64_t row = 0; row < meta.n_rows(); row += step) {
      pieces.push_back({t, row, std::min(step, meta.n_rows() - row)});
    }
  }
  return pieces;
}

void Examine(const std::vector<float>& weights, int64_t first_element,
             TensorState* state) {
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i])) {
      const int64_t at = first_element + static_cast<int64_t>(i);
      if (state->first_bad < 0 || at < state->first_bad) {
        state->first_bad = at;
        state->bad = weights[i];
      }
      return;
    }
    state->any = state->any || weights[i] != 0;
  }
}

// The original's weight at an element, as text; "" if it has none there.
std::string WeightAt(const Checkpoint& model, const TensorMeta& like,
                     int64_t element) {
  const CheckpointTensor* tensor = model.Find(like.name);
  if (tensor == nullptr || tensor->meta.shape != like.shape) {
    return "";
  }
  const int64_t n_cols = like.n_cols();
  std::vector<float> row(static_cast<size_t>(n_cols));
  return ReadScaledRows(model, *tensor, element / n_cols, 1, row.data()).ok()
             ? absl::StrFormat("%g", row[static_cast<size_t>(element % n_cols)])
             : "";
}

bool IsAllZero(const Checkpoint& model, const std::string& name) {
  const CheckpointTensor* tensor = model.Find(name);
  if (tensor == nullptr) {
    return true;
  }
  std::vector<float> row(static_cast<size_t>(tensor->meta.n_cols()));
  for (int64_t r = 0; r < tensor->meta.n_rows(); ++r) {
    if (!ReadScaledRows(model, *tensor, r, 1, row.data()).ok() ||
        std::any_of(row.begin(), row.end(), [](float x) { return x != 0; })) {
      return false;
    }
  }
  return true;
}

}  // namespace

void CheckTensors(const Checkpoint& original, const Checkpoint& candidate,
                  const ExpectedTypes* expected, SanityReport* report) {
  for (const CheckpointTensor& tensor : original.tensors()) {
    const CheckpointTensor* other = candidate.Find(tensor.meta.name);
    const std::string was = absl::StrCat(TypeName(tensor.meta.type), " ",
                                         ShapeString(tensor.meta.shape));
    if (other == nullptr) {
      Add(SanitySeverity::kError, kTensors, tensor.meta.name, "is missing", was,
          "", report);
    } else if (other->meta.shape != tensor.meta.shape &&
               !LacksPaddingOnly(tensor.meta, other->meta, candidate)) {
      Add(SanitySeverity::kError, kTensors, tensor.meta.name,
          "has another shape", was,
          absl::StrCat(TypeName(other->meta.type), " ",
                       ShapeString(other->meta.shape)),
          report);
    }
  }
  for (const CheckpointTensor& tensor : candidate.tensors()) {
    if (original.Find(tensor.meta.name) == nullptr) {
      Add(SanitySeverity::kNote, kTensors, tensor.meta.name,
          "is not in the original", "",
          absl::StrCat(TypeName(tensor.meta.type), " ",
                       ShapeString(tensor.meta.shape)),
          report);
    }
  }
  CheckLeftOver(candidate, expected, report);
}

absl::Status CheckWeights(const Checkpoint& original,
                          const Checkpoint& candidate,
                          const SanityOptions& options, SanityReport* report) {
  const absl::Span<const CheckpointTensor> tensors = candidate.tensors();
  const std::vector<Rows> pieces = CutRows(candidate);
  std::vector<TensorState> states(tensors.size());
  std::mutex mutex;  // guards states
  ThreadPool pool(options.n_threads);
  pool.ParallelFor(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const Rows& piece = pieces[static_cast<size_t>(i)];
    const CheckpointTensor& tensor = tensors[piece.tensor];
    if (options.cancelled != nullptr && options.cancelled->load()) {
      return;
    }
    const int64_t n_cols = tensor.meta.n_cols();
    std::vector<float> weights(static_cast<size_t>(piece.n * n_cols));
    const absl::Status status =
        ReadScaledRows(candidate, tensor, piece.first, piece.n, weights.data());
    candidate.Release(tensor, piece.first, piece.n);
    TensorState found;
    if (status.ok()) {
      Examine(weights, piece.first * n_cols, &found);
    }
    std::lock_guard<std::mutex> lock(mutex);
    TensorState& state = states[piece.tensor];
    state.status.Update(status);
    state.any = state.any || found.any;
    if (found.first_bad >= 0 &&
        (state.first_bad < 0 || found.first_bad < state.first_bad)) {
      state.first_bad = found.first_bad;
      state.bad = found.bad;
    }
  });
  if (options.cancelled != nullptr && options.cancelled->load()) {
    return absl::CancelledError("stopped while reading the candidate");
  }
  for (size_t t = 0; t < tensors.size(); ++t) {
    const TensorMeta& meta = tensors[t].meta;
    const TensorState& state = states[t];
    ++report->n_tensors;
    report->n_weights += meta.n_elements();
    if (!state.status.ok()) {
      // Of a type that we do not know, nothing can be said.
      Add(absl::IsUnimplemented(state.status) ? SanitySeverity::kNote
                                              : SanitySeverity::kError,
          kWeights, meta.name,
          absl::StrCat("cannot be decoded: ", state.status.message()), "", "",
          report);
    } else if (state.first_bad >= 0) {
      Add(SanitySeverity::kError, kWeights, meta.name,
          absl::StrCat("has a weight that is not finite, at row ",
                       state.first_bad / meta.n_cols(), ", column ",
                       state.first_bad % meta.n_cols()),
          WeightAt(original, meta, state.first_bad),
          absl::StrFormat("%g", state.bad), report);
    } else if (!state.any && meta.n_elements() > 0 &&
               !IsAllZero(original, meta.name)) {
      Add(SanitySeverity::kError, kWeights, meta.name, "is all zero",
          "other weights", "0", report);
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
