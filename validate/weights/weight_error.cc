#include "validate/weights/weight_error.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "calibration/weights/weights.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Weights of one piece of work: both models' decoded rows of it are held by
// each thread.
constexpr int64_t kPieceWeights = int64_t{1} << 20;
// Pieces between two looks at the progress and at errors.
constexpr int64_t kRoundPieces = 64;
// Norms stored in 16 bits differ by 2^-9 of their values at most.
constexpr double kRounding = 1e-2;

struct Piece {
  size_t tensor;  // in the list of comparisons
  int64_t first_row;
  int64_t n_rows;
};

struct Comparison {
  const CheckpointTensor* original;
  const CheckpointTensor* candidate;
  int64_t n_rows;  // that both have
  ErrorSums sums;
};

bool IsMatrix(const CheckpointTensor& tensor) {
  return tensor.meta.shape.size() > 1;
}

class Comparer {
 public:
  Comparer(const Checkpoint& original, const Checkpoint& candidate,
           int n_threads, const WeightProgressFn& progress)
      : original_(original),
        candidate_(candidate),
        pool_(n_threads),
        progress_(progress) {}

  absl::StatusOr<WeightErrors> Run() {
    Plan();
    std::vector<ErrorSums> sums(pieces_.size());
    std::vector<absl::Status> errors(pieces_.size());
    const int64_t n = static_cast<int64_t>(pieces_.size());
    for (int64_t first = 0; first < n; first += kRoundPieces) {
      const int64_t n_round = std::min(kRoundPieces, n - first);
      pool_.ParallelFor(n_round, [&](int64_t i) {
        errors[first + i] = ComparePiece(pieces_[first + i], &sums[first + i]);
      });
      for (int64_t i = first; i < first + n_round; ++i) {
        RETURN_IF_ERROR(errors[i]);
        comparisons_[pieces_[i].tensor].sums.Add(sums[i]);
      }
      if (progress_) {
        progress_(first + n_round, n);
      }
    }
    Collect();
    return std::move(result_);
  }

 private:
  void Plan() {
    for (const CheckpointTensor& tensor : original_.tensors()) {
      const CheckpointTensor* other = candidate_.Find(tensor.meta.name);
      if (other == nullptr || other->meta.n_cols() != tensor.meta.n_cols() ||
          IsMatrix(*other) != IsMatrix(tensor)) {
        if (IsMatrix(tensor)) {
          result_.not_compared.push_back(tensor.meta.name);
        }
        continue;
      }
      const int64_t n_rows =
          std::min(tensor.meta.n_rows(), other->meta.n_rows());
      const int64_t step =
          std::max<int64_t>(1, kPieceWeights / tensor.meta.n_cols());
      for (int64_t row = 0; row < n_rows; row += step) {
        pieces_.push_back(
            {comparisons_.size(), row, std::min(step, n_rows - row)});
      }
      comparisons_.push_back({&tensor, other, n_rows, {}});
    }
  }

  absl::Status ComparePiece(const Piece& piece, ErrorSums* sums) const {
    const Comparison& one = comparisons_[piece.tensor];
    const int64_t n = piece.n_rows * one.original->meta.n_cols();
    std::vector<float> a(static_cast<size_t>(n));
    std::vector<float> b(static_cast<size_t>(n));
    RETURN_IF_ERROR(ReadScaledRows(original_, *one.original, piece.first_row,
                                   piece.n_rows, a.data()));
    RETURN_IF_ERROR(ReadScaledRows(candidate_, *one.candidate, piece.first_row,
                                   piece.n_rows, b.data()));
    for (int64_t i = 0; i < n; ++i) {
      const double weight = a[i];
      const double error = b[i] - weight;
      sums->squared_error += error * error;
      sums->squared_weights += weight * weight;
    }
    sums->n_weights = n;
    original_.Release(*one.original, piece.first_row, piece.n_rows);
    candidate_.Release(*one.candidate, piece.first_row, piece.n_rows);
    return absl::OkStatus();
  }

  void Collect() {
    std::vector<LayerError> after;
    for (Comparison& one : comparisons_) {
      const CheckpointTensor& tensor = *one.original;
      if (!IsMatrix(tensor)) {
        // Of the worst one: a few moved norms among many are enough.
        result_.rescaled |= one.sums.relative() > kRounding;
        continue;
      }
      one.sums.stored_bytes = candidate_.StoredBytes(*one.candidate);
      result_.tensors.push_back({tensor.meta.name, tensor.layer, one.sums});
      result_.all.Add(one.sums);
      AddToLayer(tensor, one.sums, &after);
    }
    std::stable_sort(result_.layers.begin(), result_.layers.end(),
                     [](const LayerError& a, const LayerError& b) {
                       return a.layer < b.layer;
                     });
    result_.layers.insert(result_.layers.end(), after.begin(), after.end());
  }

  void AddToLayer(const CheckpointTensor& tensor, const ErrorSums& sums,
                  std::vector<LayerError>* after) {
    if (tensor.layer < 0) {
      const std::string name(absl::StripSuffix(tensor.meta.name, ".weight"));
      const bool first = absl::StartsWith(name, "token_embd");
      (first ? &result_.layers : after)->push_back({name, -1, sums});
      return;
    }
    auto layer = std::find_if(
        result_.layers.begin(), result_.layers.end(),
        [&](const LayerError& one) { return one.layer == tensor.layer; });
    if (layer == result_.layers.end()) {
      result_.layers.push_back({absl::StrCat(tensor.layer), tensor.layer, {}});
      layer = result_.layers.end() - 1;
    }
    layer->sums.Add(sums);
  }

  const Checkpoint& original_;
  const Checkpoint& candidate_;
  ThreadPool pool_;
  const WeightProgressFn& progress_;
  std::vector<Comparison> comparisons_;
  std::vector<Piece> pieces_;
  WeightErrors result_;
};

}  // namespace

void ErrorSums::Add(const ErrorSums& other) {
  n_weights += other.n_weights;
  stored_bytes += other.stored_bytes;
  squared_error += other.squared_error;
  squared_weights += other.squared_weights;
}

absl::StatusOr<WeightErrors> CompareWeights(const Checkpoint& original,
                                            const Checkpoint& candidate,
                                            int n_threads,
                                            const WeightProgressFn& progress) {
  return Comparer(original, candidate, n_threads, progress).Run();
}

}  // namespace narrow
