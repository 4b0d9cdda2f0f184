// Tested by compensated_convert_test.cc.

#include "converter/compensated/tensor_solver.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "converter/tensor_scale.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Rows that a thread reads, encodes or decodes at once.
constexpr int64_t kRowsAtOnce = 64;
// Experts whose baselines a device encodes side by side.
constexpr int kEncoders = 2;

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
                                       FactorCache* factors, ThreadPool* pool,
                                       Part* part) {
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
  problem.factors = factors;
  if (options_.device.has_value()) {
    problem.device = &*options_.device;
    problem.encoders = encoders_.get();
  }
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
    FactorCache* factors, ThreadPool* pool) {
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
          : SolveMatrix(planned, matrix, *seen, weights, factors, pool, &part));
  return part;
}

// Weights and targets, the Gram matrix with its factors and float32 forms,
// moments with their factor and the rows that they couple, of one matrix; as
// many as there are threads.
bool TensorSolver::SideBySide(const Group& group) const {
  int64_t bytes = 0;
  for (const PlannedTensor* tensor : group) {
    const TensorMeta& meta = tensor->meta;
    const int64_t n_rows = meta.n_rows() / MatricesOf(meta);
    const int64_t n_cols = meta.n_cols();
    const int64_t moments = options_.moments == nullptr
                                ? 0
                                : 20 * n_rows * n_rows + 12 * n_rows * n_cols;
    bytes =
        std::max(bytes, 12 * n_rows * n_cols + 24 * n_cols * n_cols + moments);
  }
  return MatricesOf(group.front()->meta) > 1 &&
         bytes <= options_.batch_bytes / std::max(1, pool_->n_threads());
}

void TensorSolver::SolveMatrices(const Group& group, int64_t matrix,
                                 const BlockStats& stats, ThreadPool* pool,
                                 Parts* parts) {
  FactorCache factors;
  for (size_t t = 0; t < group.size(); ++t) {
    // What nothing shares need not be kept until the matrix is solved.
    FactorCache* const shared =
        group.size() > 1 && !group[t]->has_scale() ? &factors : nullptr;
    absl::StatusOr<Part>& part = (*parts)[t][static_cast<size_t>(matrix)];
    part = SolvePart(*group[t], matrix, stats, shared, pool);
    if (!part.ok()) {
      return;
    }
  }
}

TensorSolver::Parts TensorSolver::SolveGroup(const Group& group,
                                             const BlockStats& stats) {
  const int64_t n_matrices = MatricesOf(group.front()->meta);
  Parts parts(group.size());
  for (std::vector<absl::StatusOr<Part>>& part : parts) {
    part.assign(static_cast<size_t>(n_matrices),
                absl::AbortedError("not reached"));
  }
  if (SideBySide(group)) {
    pool_->ParallelFor(n_matrices, [&](int64_t m) {
      ThreadPool own(1);  // loops inside are this thread's
      SolveMatrices(group, m, stats, &own, &parts);
    });
    return parts;
  }
  for (int64_t m = 0; m < n_matrices; ++m) {
    SolveMatrices(group, m, stats, pool_, &parts);
    if (!parts.back()[static_cast<size_t>(m)].ok()) {
      break;
    }
  }
  return parts;
}

// Of the first matrix that has one.
absl::Status TensorSolver::FirstError(const Group& group, const Parts& parts) {
  for (size_t m = 0; m < parts.front().size(); ++m) {
    for (size_t t = 0; t < group.size(); ++t) {
      const absl::Status& status = parts[t][m].status();
      if (!status.ok() && !absl::IsAborted(status)) {
        const std::string& name = group[t]->meta.name;
        return Annotate(status,
                        parts[t].size() > 1
                            ? absl::StrCat("solving ", name, ", expert ", m)
                            : absl::StrCat("solving ", name));
      }
    }
  }
  return absl::OkStatus();
}

SolvedTensor TensorSolver::Join(const PlannedTensor& planned,
                                std::vector<absl::StatusOr<Part>> parts) {
  SolvedTensor solved;
  solved.row_bytes = planned.meta.row_bytes();
  SolvedReport& report = solved.report;
  report.name = planned.meta.name;
  report.n_matrices = static_cast<int64_t>(parts.size());
  const double share = 1.0 / static_cast<double>(parts.size());
  for (size_t m = 0; m < parts.size(); ++m) {
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

absl::StatusOr<std::vector<SolvedTensor>> TensorSolver::Solve(
    const std::vector<const PlannedTensor*>& tensors, const BlockStats& stats) {
  if (options_.device.has_value() && encoders_ == nullptr) {
    ASSIGN_OR_RETURN(encoders_,
                     SharedEncoders::Create(*options_.device, kEncoders,
                                            options_.on_device_note));
  }
  // By input, in order of appearance: layers that see the same one have the
  // same statistics.
  std::vector<std::vector<size_t>> groups;
  std::map<std::pair<const LayerStats*, int64_t>, size_t> known;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorMeta& meta = tensors[i]->meta;
    const LayerStats* seen =
        stats.Find(tensors[i]->source->meta.name, ExpertOf(meta, 0));
    const auto [at, is_new] =
        known.insert({{seen, MatricesOf(meta)}, groups.size()});
    if (is_new) {
      groups.emplace_back();
    }
    groups[at->second].push_back(i);
  }
  std::vector<SolvedTensor> solved(tensors.size());
  for (const std::vector<size_t>& members : groups) {
    Group group;
    for (const size_t i : members) {
      group.push_back(tensors[i]);
    }
    Parts parts = SolveGroup(group, stats);
    RETURN_IF_ERROR(FirstError(group, parts));
    for (size_t k = 0; k < members.size(); ++k) {
      solved[members[k]] = Join(*group[k], std::move(parts[k]));
    }
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
