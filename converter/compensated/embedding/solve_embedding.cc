// Tested by: solve_embedding_test, compensated_files_test.

#include "converter/compensated/embedding/solve_embedding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "calibration/weights/weights.h"
#include "converter/compensated/matrix/factor_cache.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr char kEmbedding[] = "token_embd.weight";
constexpr char kOutput[] = "output.weight";
// Rows solved at a time, for what they take in memory.
constexpr size_t kRowsAtOnce = 4096;
constexpr double kMostBits = 8;

absl::StatusOr<std::vector<double>> ReadMoments(const FisherWeights& fisher,
                                                absl::string_view name) {
  if (fisher.moments == nullptr || !fisher.moments->Has(name, -1)) {
    return absl::FailedPreconditionError(
        absl::StrCat("there are no moments of ", QuotedName(name)));
  }
  return fisher.moments->Read(name, -1);
}

// One tensor's rows, some at a time.
class EmbeddingSolve {
 public:
  EmbeddingSolve(const Checkpoint& model, const PlannedTensor& planned,
                 const EmbeddingMetric& metric, const EmbeddingOptions& options)
      : model_(model), planned_(planned), metric_(metric), options_(options) {
    const TensorMeta& meta = planned.meta;
    tensor_.row_bytes = meta.row_bytes();
    tensor_.bytes.resize(static_cast<size_t>(meta.n_bytes()));
    tensor_.report.name = meta.name;
  }

  absl::StatusOr<SolvedTensor> Run() {
    for (int c = EmbeddingMetric::kLeastClass; c <= EmbeddingMetric::kMostClass;
         ++c) {
      std::vector<int64_t> rows;
      for (int64_t v = 0; v < planned_.meta.n_rows(); ++v) {
        if (metric_.ClassOf(v) == c) {
          rows.push_back(v);
        }
      }
      if (!rows.empty()) {
        RETURN_IF_ERROR(SolveClass(c, rows));
      }
    }
    if (metric_.has_output()) {
      tensor_.report.notes.push_back(
          "solved as input and output matrix in one");
    }
    if (n_plain_rows_ > 0) {
      tensor_.report.notes.push_back(
          absl::StrCat(n_plain_rows_, " of ", planned_.meta.n_rows(),
                       " rows keep the plain encoding, which is no worse"));
    }
    return std::move(tensor_);
  }

 private:
  absl::Status SolveClass(int c, absl::Span<const int64_t> rows) {
    const LayerStats stats = metric_.StatsOf(c);
    FactorCache factors;
    for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
      if (options_.cancelled != nullptr && options_.cancelled->load()) {
        return absl::CancelledError("stopped while solving");
      }
      RETURN_IF_ERROR(
          SolveRows(stats, rows.subspan(first, kRowsAtOnce), &factors));
    }
    return absl::OkStatus();
  }

  absl::Status SolveRows(const LayerStats& stats,
                         absl::Span<const int64_t> rows, FactorCache* factors) {
    ASSIGN_OR_RETURN(const std::vector<float> weights, Read(rows));
    CompensatedProblem problem;
    problem.name = planned_.meta.name;
    problem.weights = weights.data();
    problem.n_rows = static_cast<int64_t>(rows.size());
    problem.n_cols = planned_.meta.n_cols();
    problem.codec = FindCodec(planned_.meta.type);
    problem.stats = &stats;
    problem.options = &options_.solver;
    problem.pool = options_.pool;
    problem.factors = factors;
    problem.device = options_.device.has_value() ? &*options_.device : nullptr;
    ASSIGN_OR_RETURN(const CompensatedResult solved, options_.solve(problem));
    const size_t row_bytes = static_cast<size_t>(tensor_.row_bytes);
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(
          tensor_.bytes.data() + static_cast<size_t>(rows[i]) * row_bytes,
          solved.bytes.data() + i * row_bytes, row_bytes);
    }
    Report(solved, static_cast<double>(rows.size()) /
                       static_cast<double>(planned_.meta.n_rows()));
    return absl::OkStatus();
  }

  void Report(const CompensatedResult& solved, double share) {
    SolvedReport& report = tensor_.report;
    report.relative_error += solved.relative_error * share;
    report.relative_error_plain += solved.relative_error_plain * share;
    report.n_accepted = std::max<int64_t>(report.n_accepted, solved.accepted);
    n_plain_rows_ += solved.n_plain_rows;
  }

  absl::StatusOr<std::vector<float>> Read(absl::Span<const int64_t> rows) {
    const CheckpointTensor& source = *planned_.source;
    const int64_t n_cols = planned_.meta.n_cols();
    std::vector<float> weights(rows.size() * static_cast<size_t>(n_cols));
    std::vector<absl::Status> statuses(rows.size());
    options_.pool->ParallelFor(
        static_cast<int64_t>(rows.size()), [&](int64_t i) {
          float* const out = weights.data() + i * n_cols;
          const int64_t row = rows[static_cast<size_t>(i)];
          absl::Status& status = statuses[static_cast<size_t>(i)];
          status = ReadRows(model_, source, row, 1, out);
          for (int64_t c = 0; status.ok() && c < n_cols; ++c) {
            if (!std::isfinite(out[c])) {
              status = absl::DataLossError(absl::StrCat(
                  "tensor ", QuotedName(source.meta.name), ": weight is ",
                  out[c], " at row ", row, ", column ", c, "; reading ",
                  source.origin.file));
            }
          }
        });
    for (const absl::Status& status : statuses) {
      RETURN_IF_ERROR(status);
    }
    return weights;
  }

  const Checkpoint& model_;
  const PlannedTensor& planned_;
  const EmbeddingMetric& metric_;
  const EmbeddingOptions& options_;
  SolvedTensor tensor_;
  int64_t n_plain_rows_ = 0;
};

}  // namespace

bool IsEmbedding(const CheckpointTensor& tensor) {
  return tensor.meta.name == kEmbedding && tensor.meta.shape.size() == 2 &&
         tensor.scales.empty();
}

bool IsWorthSolving(const BlockCodec& codec) {
  return codec.block > 1 && Geometry(codec.type).bits_per_weight() < kMostBits;
}

absl::StatusOr<EmbeddingMetric> EmbeddingMetric::Of(
    const FisherWeights& fisher, const CalibrationSamples& samples,
    int64_t n_tokens) {
  EmbeddingMetric metric;
  ASSIGN_OR_RETURN(metric.as_input_, ReadMoments(fisher, kEmbeddingMoments));
  metric.n_cols_ = static_cast<int64_t>(
      std::llround(std::sqrt(static_cast<double>(metric.as_input_.size()))));
  metric.classes_.resize(static_cast<size_t>(n_tokens));
  metric.n_counted_ =
      std::count_if(samples.counts.begin(), samples.counts.end(),
                    [](uint8_t count) { return count != 0; });
  if (fisher.moments->Has(kOutputInputMoments, -1)) {
    RETURN_IF_ERROR(metric.AddOutput(fisher, samples));
  }
  return metric;
}

absl::Status EmbeddingMetric::AddOutput(const FisherWeights& fisher,
                                        const CalibrationSamples& samples) {
  ASSIGN_OR_RETURN(as_output_, ReadMoments(fisher, kOutputInputMoments));
  const auto found = fisher.output_squares.find({kOutput, -1});
  if (found == fisher.output_squares.end() ||
      found->second.size() != classes_.size() ||
      as_output_.size() != as_input_.size()) {
    return absl::FailedPreconditionError(
        "the moments of the token embedding are of another shape");
  }
  const std::vector<double>& squares = found->second;
  double total = 0;
  for (const double square : squares) {
    total += square;
  }
  if (total > 0) {
    for (double& value : as_output_) {
      value /= total;
    }
  }
  std::vector<double> counts(classes_.size());
  for (size_t t = 0; t < samples.ids.size(); ++t) {
    if (samples.counts[t] != 0) {
      counts[static_cast<size_t>(samples.ids[t])] += 1;
    }
  }
  const double n = static_cast<double>(n_counted_);
  for (size_t v = 0; v < counts.size(); ++v) {
    const double ratio = (counts[v] + 1) / (n * squares[v] + 1);
    const int c = std::ilogb(ratio * std::sqrt(2.0));  // rounded
    classes_[v] = static_cast<int8_t>(std::clamp(c, kLeastClass, kMostClass));
  }
  return absl::OkStatus();
}

LayerStats EmbeddingMetric::StatsOf(int c) const {
  LayerStats stats;
  stats.n_cols = n_cols_;
  stats.n_rows = n_counted_;
  const double n = static_cast<double>(n_counted_);
  const double as_input = std::ldexp(1.0, c);
  stats.gram.resize(as_input_.size());
  for (size_t i = 0; i < stats.gram.size(); ++i) {
    stats.gram[i] = n * as_input * as_input_[i];
    if (!as_output_.empty()) {
      stats.gram[i] += n * as_output_[i];
    }
  }
  for (int64_t i = 0; i < n_cols_; ++i) {
    stats.sum_sq.push_back(stats.gram[static_cast<size_t>(i * (n_cols_ + 1))]);
  }
  return stats;
}

absl::StatusOr<SolvedTensor> SolveEmbedding(const Checkpoint& model,
                                            const PlannedTensor& planned,
                                            const EmbeddingMetric& metric,
                                            const EmbeddingOptions& options) {
  return EmbeddingSolve(model, planned, metric, options).Run();
}

}  // namespace narrow
