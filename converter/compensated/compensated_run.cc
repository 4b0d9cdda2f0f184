#include "converter/compensated/compensated_run.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/weights.h"
#include "converter/compensated/checkpoint_source.h"
#include "converter/tensor_scale.h"
#include "formats/base/file.h"
#include "formats/base/fingerprint.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Changes when the same input gives other bytes than before.
constexpr char kVersion[] = "narrow convert compensated 1";

// Rows that a thread reads or encodes at once.
constexpr int64_t kRowsAtOnce = 64;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t MatricesOf(const TensorMeta& meta) {
  return meta.shape.size() > 2 ? meta.shape[0] : 1;
}

// body(first_row, n_rows) over parts of all rows.
void ForRows(ThreadPool* pool, int64_t n_rows,
             const std::function<void(int64_t, int64_t)>& body) {
  pool->ParallelFor((n_rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i) {
    const int64_t first = i * kRowsAtOnce;
    body(first, std::min(kRowsAtOnce, n_rows - first));
  });
}

// The same inputs, where weights and so outputs are divided by `scale`.
LayerStats DividedOutputs(const LayerStats& stats, float scale) {
  LayerStats divided = stats;
  for (double& value : divided.residual) {
    value /= scale;
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

// A note that several experts have once.
void AddNotes(const std::vector<std::string>& notes, SolvedReport* report) {
  for (const std::string& note : notes) {
    if (std::find(report->notes.begin(), report->notes.end(), note) ==
        report->notes.end()) {
      report->notes.push_back(note);
    }
  }
}

}  // namespace

CompensatedRun::CompensatedRun(const Checkpoint* model,
                               std::vector<const Plan*> plans,
                               const CalibrationSamples* samples,
                               const CompensatedRunOptions& options)
    : model_(*model),
      plans_(std::move(plans)),
      samples_(*samples),
      options_(options),
      pool_(options.n_threads) {
  assert(options.one_shot || plans_.size() == 1);
  std::set<std::string> names;
  for (size_t o = 0; o < plans_.size(); ++o) {
    const Plan& plan = *plans_[o];
    for (const SolveTarget& target : FindSolveTargets(plan, model_).solved) {
      const PlannedTensor& planned = plan.tensors[target.tensor];
      jobs_.push_back({static_cast<int>(o), target, &planned});
      names.insert(planned.source->meta.name);
    }
  }
  const std::vector<std::string> list(names.begin(), names.end());
  auto overlay = std::make_unique<OverlaySource>(
      std::make_unique<CheckpointSource>(&model_, list), list);
  overlay_ = overlay.get();
  shown_ = Checkpoint::WithRows(model_, std::move(overlay));
}

absl::StatusOr<uint64_t> CompensatedRun::Fingerprint() const {
  class Fingerprint print;
  const CompensatedOptions& o = options_.solver;
  print.Add(kVersion);
  for (const int64_t number :
       {int64_t{options_.one_shot}, int64_t{options_.fisher},
        options_.max_coupled_outputs, options_.held_out_every,
        int64_t{o.rounds}, int64_t{o.refit}, int64_t{o.sweep},
        int64_t{o.n_orders}}) {
    print.Add(number);
  }
  for (const double number :
       {o.damping, o.drift, o.residual, o.drift_damping}) {
    print.Add(absl::StrFormat("%.17g", number));
  }
  print.Add(static_cast<int64_t>(samples_.hash));
  for (const CheckpointTensor& tensor : model_.tensors()) {
    print.Add(tensor.meta.name);
    print.Add(TypeName(tensor.meta.type));
    print.Add(ShapeString(tensor.meta.shape));
  }
  for (const Job& job : jobs_) {
    const PlannedTensor& planned = *job.planned;
    const TensorMeta& meta = planned.meta;
    print.Add(int64_t{job.output});
    print.Add(meta.name);
    print.Add(TypeName(meta.type));
    print.Add(planned.scale.name);
    // Enough to tell models apart without reading them.
    std::vector<float> row(static_cast<size_t>(meta.n_cols()));
    for (const int64_t r : {int64_t{0}, meta.n_rows() - 1}) {
      RETURN_IF_ERROR(ReadRows(model_, *planned.source, r, 1, row.data()));
      print.Add({reinterpret_cast<const uint8_t*>(row.data()),
                 row.size() * sizeof(float)});
    }
    if (planned.importance != nullptr) {
      print.Add({reinterpret_cast<const uint8_t*>(planned.importance),
                 static_cast<size_t>(MatricesOf(meta) * meta.n_cols()) *
                     sizeof(float)});
    }
  }
  return print.value();
}

ObserveRequest CompensatedRun::Request(const std::vector<Job>& jobs) const {
  ObserveRequest request;
  for (const Job& job : jobs) {
    request.layers.push_back(job.planned->source->meta.name);
  }
  request.weights = options_.weights;
  request.needs.columns = true;
  request.needs.gram = true;
  if (!options_.one_shot) {
    request.needs.cross = options_.solver.drift > 0;
    request.needs.residual = options_.solver.residual > 0;
    request.held_out_every =
        request.needs.original() ? options_.held_out_every : 0;
  }
  return request;
}

std::vector<CompensatedRun::Job> CompensatedRun::JobsOf(int block) const {
  std::vector<Job> jobs;
  for (const Job& job : jobs_) {
    if (job.target.block == block) {
      jobs.push_back(job);
    }
  }
  return jobs;
}

// What can be observed together. Sequentially, what one site puts out goes
// into the next; tensors that no site has are solved without statistics.
std::vector<std::vector<CompensatedRun::Job>> CompensatedRun::SitesOf(
    const BlockSites& sites, std::vector<Job> jobs) const {
  std::vector<std::vector<Job>> parts(options_.one_shot ? 1 : sites.size());
  std::vector<Job> others;
  for (const Job& job : jobs) {
    const std::string& name = job.planned->source->meta.name;
    size_t site = 0;
    while (site < sites.size() &&
           std::find(sites[site].begin(), sites[site].end(), name) ==
               sites[site].end()) {
      ++site;
    }
    if (site == sites.size()) {
      others.push_back(job);
    } else {
      parts[options_.one_shot ? 0 : site].push_back(job);
    }
  }
  parts.push_back(std::move(others));
  return parts;
}

absl::Status CompensatedRun::ReadMatrix(const PlannedTensor& planned,
                                        int64_t matrix,
                                        std::vector<float>* weights) {
  const CheckpointTensor& source = *planned.source;
  const int64_t n_cols = source.meta.n_cols();
  const int64_t n_rows = source.meta.n_rows() / MatricesOf(source.meta);
  const int64_t first_row = matrix * n_rows;
  weights->resize(static_cast<size_t>(n_rows * n_cols));
  const int64_t n_parts = (n_rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<absl::Status> statuses(static_cast<size_t>(n_parts));
  ForRows(&pool_, n_rows, [&](int64_t first, int64_t n) {
    float* out = weights->data() + first * n_cols;
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
  return absl::OkStatus();
}

void CompensatedRun::Decode(const BlockCodec& codec,
                            const std::vector<uint8_t>& bytes, int64_t n_rows,
                            int64_t n_cols, float* out) {
  const int64_t row_blocks = n_cols / codec.block;
  const int64_t row_bytes = static_cast<int64_t>(bytes.size()) / n_rows;
  ForRows(&pool_, n_rows, [&](int64_t first, int64_t n) {
    codec.Decode(bytes.data() + first * row_bytes, n * row_blocks,
                 out + first * n_cols);
  });
}

absl::StatusOr<CompensatedResult> CompensatedRun::SolveMatrix(
    const PlannedTensor& planned, int64_t matrix, const LayerStats* stats,
    std::vector<float>* weights, SolvedReport* report) {
  const TensorMeta& meta = planned.meta;
  const BlockCodec* codec = FindCodec(meta.type);
  CompensatedProblem problem;
  problem.name = meta.name;
  problem.weights = weights->data();
  problem.n_cols = meta.n_cols();
  problem.n_rows = meta.n_rows() / MatricesOf(meta);
  problem.codec = codec;
  problem.stats = stats;
  problem.options = &options_.solver;
  problem.pool = &pool_;
  if (stats != nullptr) {
    const std::string& name = planned.source->meta.name;
    const int expert = meta.shape.size() > 2 ? static_cast<int>(matrix) : -1;
    std::vector<double> moments;
    if (options_.moments != nullptr && options_.moments->Has(name, expert)) {
      ASSIGN_OR_RETURN(moments, options_.moments->Read(name, expert));
      if (static_cast<int64_t>(moments.size()) ==
          problem.n_rows * problem.n_rows) {
        problem.output_moments = moments.data();
      }
    }
    return options_.solve(problem);
  }
  report->plain_why = "no statistics of its input were gathered";
  const float* importance = planned.importance == nullptr
                                ? nullptr
                                : planned.importance + matrix * problem.n_cols;
  if (importance == nullptr && codec->requires_importance) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor ", QuotedName(meta.name), " as ", TypeName(meta.type),
        " needs importance, and no input of it was seen; give an importance "
        "matrix with --imatrix"));
  }
  CompensatedResult plain;
  plain.bytes.resize(static_cast<size_t>(problem.n_rows * meta.row_bytes()));
  ForRows(&pool_, problem.n_rows, [&](int64_t first, int64_t n) {
    codec->EncodeRows(problem.weights + first * problem.n_cols, n,
                      problem.n_cols, importance,
                      plain.bytes.data() + first * meta.row_bytes());
  });
  return plain;
}

absl::StatusOr<SolvedTensor> CompensatedRun::SolveTensor(
    const Job& job, const BlockStats& stats, std::vector<float>* shown) {
  const PlannedTensor& planned = *job.planned;
  const TensorMeta& meta = planned.meta;
  const int64_t n_matrices = MatricesOf(meta);
  const int64_t n_cols = meta.n_cols();
  const int64_t n_rows = meta.n_rows() / n_matrices;
  SolvedTensor solved;
  solved.output = job.output;
  solved.row_bytes = meta.row_bytes();
  SolvedReport& report = solved.report;
  report.name = meta.name;
  report.n_matrices = n_matrices;
  solved.bytes.reserve(static_cast<size_t>(meta.n_bytes()));
  std::vector<float> weights;
  for (int64_t m = 0; m < n_matrices; ++m) {
    if (options_.cancelled != nullptr && options_.cancelled->load()) {
      return absl::CancelledError("stopped while solving");
    }
    RETURN_IF_ERROR(ReadMatrix(planned, m, &weights));
    float scale = 1;
    if (planned.has_scale()) {
      float largest = 0;
      for (const float w : weights) {
        largest = std::max(largest, std::fabs(w));
      }
      scale = ScaleOf(largest);
      for (float& w : weights) {
        w /= scale;
      }
    }
    const LayerStats* seen =
        stats.Find(planned.source->meta.name,
                   meta.shape.size() > 2 ? static_cast<int>(m) : -1);
    LayerStats scaled;
    if (seen != nullptr && scale != 1) {
      scaled = DividedOutputs(*seen, scale);
      seen = &scaled;
    }
    auto result = SolveMatrix(planned, m, seen, &weights, &report);
    RETURN_IF_ERROR(Annotate(
        result.status(),
        n_matrices > 1 ? absl::StrCat("solving ", meta.name, ", expert ", m)
                       : absl::StrCat("solving ", meta.name)));
    const double share = 1.0 / static_cast<double>(n_matrices);
    report.relative_error += result->relative_error * share;
    report.relative_error_plain += result->relative_error_plain * share;
    report.n_accepted += result->accepted ? 1 : 0;
    AddNotes(result->notes, &report);
    if (shown != nullptr) {
      shown->resize(static_cast<size_t>(meta.n_elements()));
      float* values = shown->data() + m * n_rows * n_cols;
      Decode(*FindCodec(meta.type), result->bytes, n_rows, n_cols, values);
      for (int64_t i = 0; scale != 1 && i < n_rows * n_cols; ++i) {
        values[i] *= scale;
      }
    }
    solved.bytes.insert(solved.bytes.end(), result->bytes.begin(),
                        result->bytes.end());
  }
  return solved;
}

absl::Status CompensatedRun::Solve(const std::vector<Job>& jobs,
                                   const BlockStats& stats,
                                   std::vector<SolvedTensor>* solved) {
  for (const Job& job : jobs) {
    std::vector<float> shown;
    ASSIGN_OR_RETURN(
        SolvedTensor tensor,
        SolveTensor(job, stats, options_.one_shot ? nullptr : &shown));
    if (!options_.one_shot) {
      RETURN_IF_ERROR(
          overlay_->Replace(job.planned->source->meta.name, std::move(shown)));
    }
    solved->push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

void CompensatedRun::Report(const std::vector<SolvedTensor>& solved,
                            SolveProgress progress) {
  for (const SolvedTensor& tensor : solved) {
    const double n = static_cast<double>(solved.size());
    progress.error += tensor.report.relative_error / n;
    progress.error_plain += tensor.report.relative_error_plain / n;
  }
  if (options_.on_block) {
    options_.on_block(progress);
  }
}

absl::Status CompensatedRun::OneBlock(BlockCalibrator* calibrator,
                                      SolvedStore* store) {
  SolveProgress progress;
  progress.block = calibrator->next_block();
  progress.n_blocks = calibrator->n_blocks();
  const std::vector<Job> jobs = JobsOf(static_cast<int>(progress.block));
  const std::vector<std::vector<Job>> sites =
      SitesOf(calibrator->SitesOfBlock(), jobs);
  std::vector<SolvedTensor> solved;
  for (size_t i = 0; i < sites.size(); ++i) {
    if (sites[i].empty()) {
      continue;
    }
    Clock::time_point start = Clock::now();
    BlockStats stats;
    if (i + 1 < sites.size()) {
      ASSIGN_OR_RETURN(stats, calibrator->Observe(Request(sites[i]), nullptr));
    }
    progress.observe_seconds += SecondsSince(start);
    start = Clock::now();
    RETURN_IF_ERROR(Solve(sites[i], stats, &solved));
    progress.solve_seconds += SecondsSince(start);
  }
  RETURN_IF_ERROR(store->Save(progress.block, solved));
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(calibrator->Advance(nullptr));
  for (const Job& job : jobs) {
    overlay_->Restore(job.planned->source->meta.name);
  }
  progress.advance_seconds = SecondsSince(start);
  Report(solved, progress);
  return absl::OkStatus();
}

absl::Status CompensatedRun::OutputMatrix(BlockCalibrator* calibrator,
                                          SolvedStore* store) {
  SolveProgress progress;
  progress.block = calibrator->n_blocks();
  progress.n_blocks = calibrator->n_blocks();
  const std::vector<Job> jobs = JobsOf(static_cast<int>(progress.block));
  std::vector<SolvedTensor> solved;
  if (!jobs.empty()) {
    Clock::time_point start = Clock::now();
    ASSIGN_OR_RETURN(const BlockStats stats,
                     calibrator->ObserveOutput(Request(jobs)));
    progress.observe_seconds = SecondsSince(start);
    start = Clock::now();
    RETURN_IF_ERROR(Solve(jobs, stats, &solved));
    progress.solve_seconds = SecondsSince(start);
    Report(solved, progress);
  }
  return store->Save(progress.block, solved);
}

absl::Status CompensatedRun::Blocks(uint64_t fingerprint, SolvedStore* store,
                                    const std::function<void()>& on_saved) {
  CalibrationOptions options;
  options.order = options_.one_shot ? CalibrationOrder::kOriginal
                                    : CalibrationOrder::kQuantized;
  options.hidden_bytes = options_.hidden_bytes;
  options.keep_original = Request({}).needs.original();
  options.cancelled = options_.cancelled;
  options.runner.n_threads = pool_.n_threads();
  ASSIGN_OR_RETURN(
      const auto calibrator,
      BlockCalibrator::Create(shown_.get(), overlay_, samples_, options));
  if (FileExists(store->calibrator_path())) {
    RETURN_IF_ERROR(calibrator->Restore(store->calibrator_path(), fingerprint));
    n_resumed_ = calibrator->next_block();
    on_saved();
  }
  const int64_t n_blocks = calibrator->n_blocks();
  while (calibrator->next_block() < n_blocks) {
    RETURN_IF_ERROR(OneBlock(calibrator.get(), store));
    RETURN_IF_ERROR(calibrator->Save(store->calibrator_path(), fingerprint));
    on_saved();
  }
  if (!store->Has(n_blocks)) {
    RETURN_IF_ERROR(OutputMatrix(calibrator.get(), store));
  }
  return store->Load(n_blocks + 1);
}

}  // namespace narrow
