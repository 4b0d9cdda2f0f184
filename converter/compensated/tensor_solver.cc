// Tested by compensated_convert_test.cc.

#include "converter/compensated/tensor_solver.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights.h"
#include "converter/tensor_scale.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Rows that a thread reads, encodes or decodes at once.
constexpr int64_t kRowsAtOnce = 64;

int64_t MatricesOf(const TensorMeta& meta) {
  return meta.shape.size() > 2 ? meta.shape[0] : 1;
}

// As statistics and moments name the matrix.
int ExpertOf(const TensorMeta& meta, int64_t matrix) {
  return meta.shape.size() > 2 ? static_cast<int>(matrix) : -1;
}

// body(first_row, n_rows) over parts of all rows.
void ForRows(ThreadPool* pool, int64_t n_rows,
             absl::FunctionRef<void(int64_t, int64_t)> body) {
  pool->ParallelFor((n_rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i) {
    const int64_t first = i * kRowsAtOnce;
    body(first, std::min(kRowsAtOnce, n_rows - first));
  });
}

// The same inputs, where weights and so outputs are divided by `scale`.
LayerStats DividedOutputs(const LayerStats& stats, float scale) {
  LayerStats divided = stats;
  for (double& value : divided.residual) {
    value /= double{scale};
  }
  if (stats.held_out != nullptr) {
    auto rows = std::make_shared<HeldOutRows>(*stats.held_out);
    for (float& value : rows->residual) {
      value /= scale;
    }
    divided.held_out = std::move(rows);
  }
  return divided;
}

// Divides by the scale that the file will have for the matrix.
float TakeScale(std::vector<float>* weights) {
  float largest = 0;
  for (const float w : *weights) {
    largest = std::max(largest, std::fabs(w));
  }
  const float scale = ScaleOf(largest);
  for (float& w : *weights) {
    w /= scale;
  }
  return scale;
}

// A note that several experts have once.
void AddNotes(const std::vector<std::string>& notes, SolvedReport* report) {
  for (const std::string& note : notes) {
    if (std::find(report->notes.begin(), report->notes.end(), note) ==
        report->notes.end()) {
      report->notes.push_back(note);
    }
  }
}

void Append(const std::vector<uint8_t>& part, std::vector<uint8_t>* all) {
  all->insert(all->end(), part.begin(), part.end());
}

}  // namespace

absl::StatusOr<std::vector<float>> TensorSolver::ReadMatrix(
    const PlannedTensor& planned, int64_t matrix, ThreadPool* pool) const {
  const CheckpointTensor& source = *planned.source;
  const int64_t n_cols = source.meta.n_cols();
  const int64_t n_rows = source.meta.n_rows() / MatricesOf(source.meta);
  const int64_t first_row = matrix * n_rows;
  std::vector<float> weights(static_cast<size_t>(n_rows * n_cols));
  const int64_t n_parts = (n_rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<absl::Status> statuses(static_cast<size_t>(n_parts));
  ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
    float* out = weights.data() + first * n_cols;
    absl::Status& status = statuses[static_cast<size_t>(first / kRowsAtOnce)];
    status = ReadRows(model_, source, first_row + first, n, out);
    for (int64_t i = 0; status.ok() && i < n * n_cols; ++i) {
      if (!std::isfinite(out[i])) {
        status = absl::DataLossError(absl::StrCat(
            "tensor ", QuotedName(source.meta.name), ": weight is ", out[i],
            " at row ", first_row + first + i / n_cols, ", column ", i % n_cols,
            "; reading ", source.origin.file));
      }
    }
  });
  for (const absl::Status& status : statuses) {
    RETURN_IF_ERROR(status);
  }
  model_.Release(source, first_row, n_rows);
  return weights;
}

absl::Status TensorSolver::SolveMatrix(const PlannedTensor& planned,
                                       int64_t matrix, const LayerStats& stats,
                                       const std::vector<float>& weights,
                                       ThreadPool* pool, Part* part) {
  const TensorMeta& meta = planned.meta;
  CompensatedProblem problem;
  problem.name = meta.name;
  problem.weights = weights.data();
  problem.n_cols = meta.n_cols();
  problem.n_rows = meta.n_rows() / MatricesOf(meta);
  problem.codec = FindCodec(meta.type);
  problem.stats = &stats;
  problem.options = &options_.solver;
  problem.pool = pool;
  const std::string& name = planned.source->meta.name;
  const int expert = ExpertOf(meta, matrix);
  std::vector<double> moments;
  if (options_.moments != nullptr && options_.moments->Has(name, expert)) {
    ASSIGN_OR_RETURN(moments, options_.moments->Read(name, expert));
    if (static_cast<int64_t>(moments.size()) ==
        problem.n_rows * problem.n_rows) {
      problem.output_moments = moments.data();
    }
  }
  ASSIGN_OR_RETURN(part->result, options_.solve(problem));
  return absl::OkStatus();
}

absl::Status TensorSolver::EncodeMatrix(const PlannedTensor& planned,
                                        int64_t matrix,
                                        const std::vector<float>& weights,
                                        ThreadPool* pool, Part* part) const {
  const TensorMeta& meta = planned.meta;
  const BlockCodec* codec = FindCodec(meta.type);
  const int64_t n_cols = meta.n_cols();
  const int64_t n_rows = meta.n_rows() / MatricesOf(meta);
  part->plain_why = "no statistics of its input were gathered";
  const float* importance = planned.importance == nullptr
                                ? nullptr
                                : planned.importance + matrix * n_cols;
  if (importance == nullptr && codec->requires_importance) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor ", QuotedName(meta.name), " as ", TypeName(meta.type),
        " needs importance, and no input of it was seen; give an importance "
        "matrix with --imatrix"));
  }
  std::vector<uint8_t>& bytes = part->result.bytes;
  bytes.resize(static_cast<size_t>(n_rows * meta.row_bytes()));
  ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
    codec->EncodeRows(weights.data() + first * n_cols, n, n_cols, importance,
                      bytes.data() + first * meta.row_bytes());
  });
  part->result.plain_bytes = bytes;
  return absl::OkStatus();
}

absl::StatusOr<TensorSolver::Part> TensorSolver::SolvePart(
    const PlannedTensor& planned, int64_t matrix, const BlockStats& stats,
    ThreadPool* pool) {
  if (options_.cancelled != nullptr && options_.cancelled->load()) {
    return absl::CancelledError("stopped while solving");
  }
  Part part;
  ASSIGN_OR_RETURN(std::vector<float> weights,
                   ReadMatrix(planned, matrix, pool));
  if (planned.has_scale()) {
    part.scale = TakeScale(&weights);
  }
  const LayerStats* seen =
      stats.Find(planned.source->meta.name, ExpertOf(planned.meta, matrix));
  LayerStats divided;
  if (seen != nullptr && part.scale != 1) {
    divided = DividedOutputs(*seen, part.scale);
    seen = &divided;
  }
  RETURN_IF_ERROR(
      seen == nullptr
          ? EncodeMatrix(planned, matrix, weights, pool, &part)
          : SolveMatrix(planned, matrix, *seen, weights, pool, &part));
  return part;
}

// Weights and targets, Gram matrix, factor and its float32 forms, and moments
// of one matrix, as many as there are threads.
bool TensorSolver::SideBySide(const PlannedTensor& planned) const {
  const TensorMeta& meta = planned.meta;
  const int64_t n_matrices = MatricesOf(meta);
  const int64_t n_rows = meta.n_rows() / n_matrices;
  const int64_t n_cols = meta.n_cols();
  const int64_t moments = options_.moments == nullptr ? 0 : 8 * n_rows * n_rows;
  const int64_t bytes = 12 * n_rows * n_cols + 20 * n_cols * n_cols + moments;
  return n_matrices > 1 &&
         bytes <= options_.batch_bytes / std::max(1, pool_->n_threads());
}

std::vector<absl::StatusOr<TensorSolver::Part>> TensorSolver::SolveParts(
    const PlannedTensor& planned, const BlockStats& stats) {
  const int64_t n_matrices = MatricesOf(planned.meta);
  std::vector<absl::StatusOr<Part>> parts(static_cast<size_t>(n_matrices),
                                          absl::CancelledError("not reached"));
  if (SideBySide(planned)) {
    pool_->ParallelFor(n_matrices, [&](int64_t m) {
      ThreadPool own(1);  // loops inside are this thread's
      parts[static_cast<size_t>(m)] = SolvePart(planned, m, stats, &own);
    });
    return parts;
  }
  for (int64_t m = 0; m < n_matrices; ++m) {
    absl::StatusOr<Part>& part = parts[static_cast<size_t>(m)];
    part = SolvePart(planned, m, stats, pool_);
    if (!part.ok()) {
      break;
    }
  }
  return parts;
}

absl::StatusOr<SolvedTensor> TensorSolver::Solve(const PlannedTensor& planned,
                                                 const BlockStats& stats) {
  const std::string& name = planned.meta.name;
  std::vector<absl::StatusOr<Part>> parts = SolveParts(planned, stats);
  SolvedTensor solved;
  solved.row_bytes = planned.meta.row_bytes();
  SolvedReport& report = solved.report;
  report.name = name;
  report.n_matrices = static_cast<int64_t>(parts.size());
  const double share = 1.0 / static_cast<double>(parts.size());
  for (size_t m = 0; m < parts.size(); ++m) {
    RETURN_IF_ERROR(Annotate(
        parts[m].status(), parts.size() > 1
                               ? absl::StrCat("solving ", name, ", expert ", m)
                               : absl::StrCat("solving ", name)));
    const CompensatedResult& result = parts[m]->result;
    report.relative_error += result.relative_error * share;
    report.relative_error_plain += result.relative_error_plain * share;
    report.n_accepted += result.accepted ? 1 : 0;
    if (!parts[m]->plain_why.empty()) {
      report.plain_why = parts[m]->plain_why;
    }
    AddNotes(result.notes, &report);
    Append(result.bytes, &solved.bytes);
    Append(result.plain_bytes, &solved.plain_bytes);
    solved.scales.push_back(parts[m]->scale);
    *parts[m] = Part();  // its memory
  }
  return solved;
}

std::vector<float> TensorSolver::Decode(const PlannedTensor& planned,
                                        absl::Span<const uint8_t> bytes,
                                        absl::Span<const float> scales) const {
  const TensorMeta& meta = planned.meta;
  const BlockCodec& codec = *FindCodec(meta.type);
  const int64_t n_cols = meta.n_cols();
  const int64_t n_rows = meta.n_rows() / MatricesOf(meta);
  std::vector<float> values(static_cast<size_t>(meta.n_elements()));
  ForRows(pool_, meta.n_rows(), [&](int64_t first, int64_t n) {
    float* out = values.data() + first * n_cols;
    codec.Decode(bytes.data() + first * meta.row_bytes(),
                 n * (n_cols / codec.block), out);
    for (int64_t r = 0; r < n; ++r) {
      const float scale = scales[static_cast<size_t>((first + r) / n_rows)];
      for (int64_t i = 0; scale != 1 && i < n_cols; ++i) {
        out[r * n_cols + i] *= scale;
      }
    }
  });
  return values;
}

}  // namespace narrow
