// Tested by compensated_convert_test.cc.

#include "converter/compensated/compensated_run.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <set>
#include <utility>

#include "absl/types/span.h"
#include "converter/compensated/block_verifier.h"
#include "converter/compensated/checkpoint_source.h"
#include "converter/compensated/embedding/solve_embedding.h"
#include "converter/compensated/embedding/stored_embedding.h"
#include "converter/compensated/solve_targets.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// Adds the time since it was made to `seconds`.
class Stopwatch {
 public:
  explicit Stopwatch(double* seconds)
      : seconds_(seconds), start_(Clock::now()) {}
  ~Stopwatch() {
    *seconds_ += std::chrono::duration<double>(Clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double* const seconds_;
  const Clock::time_point start_;
};

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
  assert(options.settings.one_shot || plans_.size() == 1);
  std::set<std::string> names;
  for (size_t o = 0; o < plans_.size(); ++o) {
    const Plan& plan = *plans_[o];
    for (const SolveTarget& target :
         FindSolveTargets(plan, model_, options.settings.fisher).solved) {
      const PlannedTensor& planned = plan.tensors[target.tensor];
      jobs_.push_back({static_cast<int>(o), target, &planned});
      if (target.block <= model_.config().n_layers) {
        names.insert(planned.source->meta.name);
      }
    }
  }
  const std::vector<std::string> list(names.begin(), names.end());
  auto overlay = std::make_unique<OverlaySource>(
      std::make_unique<CheckpointSource>(&model_, list), list);
  overlay_ = overlay.get();
  shown_ = Checkpoint::WithRows(model_, std::move(overlay));
  if (!options_.settings.one_shot) {
    embedding_ = FindEmbedding(*plans_.front());
  }
}

absl::StatusOr<uint64_t> CompensatedRun::Fingerprint() const {
  return FingerprintOf(model_, samples_, options_.verify, options_.settings,
                       jobs_, embedding_);
}

ObserveRequest CompensatedRun::Request(
    const std::vector<SolveJob>& jobs) const {
  ObserveRequest request;
  for (const SolveJob& job : jobs) {
    request.layers.push_back(job.planned->source->meta.name);
  }
  request.weights = fisher_ == nullptr ? nullptr : &fisher_->tokens;
  request.needs.columns = true;
  request.needs.gram = true;
  if (!options_.settings.one_shot) {
    request.needs.cross = options_.settings.solver.drift > 0;
    request.needs.residual = options_.settings.solver.residual > 0;
    request.held_out_every =
        request.needs.original() ? options_.settings.held_out_every : 0;
  }
  return request;
}

std::vector<SolveJob> CompensatedRun::JobsOf(int64_t block) const {
  std::vector<SolveJob> jobs;
  for (const SolveJob& job : jobs_) {
    if (job.target.block == block) {
      jobs.push_back(job);
    }
  }
  return jobs;
}

// What can be observed together. Sequentially, what one site puts out goes
// into the next; tensors that no site has are solved without statistics.
CompensatedRun::Sites CompensatedRun::SitesOf(
    const BlockSites& sites, std::vector<SolveJob> jobs) const {
  Sites parts(options_.settings.one_shot ? 1 : sites.size());
  std::vector<SolveJob> others;
  for (const SolveJob& job : jobs) {
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
      parts[options_.settings.one_shot ? 0 : site].push_back(job);
    }
  }
  parts.push_back(std::move(others));
  return parts;
}

absl::Status CompensatedRun::Solve(const std::vector<SolveJob>& jobs,
                                   const BlockStats& stats,
                                   std::vector<SolvedTensor>* solved) {
  std::vector<const PlannedTensor*> tensors;
  for (const SolveJob& job : jobs) {
    tensors.push_back(job.planned);
  }
  ASSIGN_OR_RETURN(std::vector<SolvedTensor> made,
                   solver_->Solve(tensors, stats));
  for (size_t i = 0; i < jobs.size(); ++i) {
    SolvedTensor& tensor = made[i];
    tensor.output = jobs[i].output;
    if (!options_.settings.one_shot) {
      RETURN_IF_ERROR(overlay_->Replace(
          tensors[i]->source->meta.name,
          solver_->Decode(*tensors[i], tensor.bytes, tensor.scales)));
    }
    if (judge_ == nullptr) {
      tensor.plain_bytes = {};
    }
    solved->push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

absl::Status CompensatedRun::Verify(const std::vector<SolveJob>& jobs,
                                    std::vector<SolvedTensor>* solved,
                                    SolveProgress* progress) {
  if (judge_ == nullptr) {
    return absl::OkStatus();
  }
  const Stopwatch watch(&progress->verify_seconds);
  HiddenStates states;
  RETURN_IF_ERROR(calibrator_->ReadStates(judge_->first_window(),
                                          judge_->n_windows(), &states));
  BlockVerifier verifier(solver_.get(), overlay_, judge_.get(),
                         options_.settings.one_shot);
  ASSIGN_OR_RETURN(progress->verdicts,
                   verifier.Verify(progress->block, states, jobs, solved));
  return absl::OkStatus();
}

void CompensatedRun::Report(const std::vector<SolvedTensor>& solved,
                            SolveProgress progress) const {
  for (const SolvedTensor& tensor : solved) {
    const double n = static_cast<double>(solved.size());
    progress.error += tensor.report.relative_error / n;
    progress.error_plain += tensor.report.relative_error_plain / n;
  }
  if (options_.on_block) {
    options_.on_block(progress);
  }
}

absl::Status CompensatedRun::OneBlock(SolvedStore* store) {
  SolveProgress progress;
  progress.block = calibrator_->next_block();
  progress.n_blocks = calibrator_->n_blocks();
  const Sites sites =
      SitesOf(calibrator_->SitesOfBlock(), JobsOf(progress.block));
  std::vector<SolveJob> jobs;  // in the order in which they are solved
  std::vector<SolvedTensor> solved;
  for (size_t i = 0; i < sites.size(); ++i) {
    if (sites[i].empty()) {
      continue;
    }
    BlockStats stats;
    if (i + 1 < sites.size()) {
      const Stopwatch watch(&progress.observe_seconds);
      ASSIGN_OR_RETURN(stats, calibrator_->Observe(Request(sites[i]), nullptr));
    }
    const Stopwatch watch(&progress.solve_seconds);
    RETURN_IF_ERROR(Solve(sites[i], stats, &solved));
    jobs.insert(jobs.end(), sites[i].begin(), sites[i].end());
  }
  RETURN_IF_ERROR(Verify(jobs, &solved, &progress));
  RETURN_IF_ERROR(store->Save(progress.block, solved, progress.verdicts));
  {
    const Stopwatch watch(&progress.advance_seconds);
    RETURN_IF_ERROR(calibrator_->Advance(nullptr));
  }
  for (const SolveJob& job : jobs) {
    overlay_->Restore(job.planned->source->meta.name);
  }
  Report(solved, progress);
  return absl::OkStatus();
}

absl::Status CompensatedRun::OutputMatrix(SolvedStore* store) {
  SolveProgress progress;
  progress.block = calibrator_->n_blocks();
  progress.n_blocks = calibrator_->n_blocks();
  const std::vector<SolveJob> jobs = JobsOf(progress.block);
  std::vector<SolvedTensor> solved;
  if (!jobs.empty()) {
    BlockStats stats;
    {
      const Stopwatch watch(&progress.observe_seconds);
      ASSIGN_OR_RETURN(stats, calibrator_->ObserveOutput(Request(jobs)));
    }
    {
      const Stopwatch watch(&progress.solve_seconds);
      RETURN_IF_ERROR(Solve(jobs, stats, &solved));
    }
    RETURN_IF_ERROR(Verify(jobs, &solved, &progress));
    Report(solved, progress);
  }
  return store->Save(progress.block, solved, progress.verdicts);
}

absl::Status CompensatedRun::Embedding(SolvedStore* store) {
  const int64_t n_blocks = model_.config().n_layers;
  const std::vector<SolveJob> jobs = JobsOf(n_blocks + 1);
  if (!jobs.empty() && !store->Has(n_blocks + 1)) {
    SolveProgress progress;
    progress.block = n_blocks + 1;
    progress.n_blocks = n_blocks;
    std::vector<SolvedTensor> solved;
    {
      const Stopwatch watch(&progress.solve_seconds);
      ASSIGN_OR_RETURN(
          const EmbeddingMetric metric,
          EmbeddingMetric::Of(*fisher_, samples_,
                              jobs.front().planned->source->meta.n_rows()));
      EmbeddingOptions options;
      options.solver = options_.settings.solver;
      if (options_.solve) {
        options.solve = options_.solve;
      }
      options.pool = &pool_;
      options.cancelled = options_.cancelled;
      options.device = options_.device;
      for (const SolveJob& job : jobs) {
        ASSIGN_OR_RETURN(solved.emplace_back(),
                         SolveEmbedding(model_, *job.planned, metric, options));
        solved.back().output = job.output;
      }
    }
    Report(solved, progress);
    RETURN_IF_ERROR(store->Save(progress.block, solved, {}));
  }
  return jobs.empty() ? absl::OkStatus()
                      : store->Load(n_blocks + 1, n_blocks + 2);
}

absl::Status CompensatedRun::Begin(uint64_t fingerprint, SolvedStore* store,
                                   const std::function<void()>& on_saved) {
  CalibrationOptions options;
  options.order = options_.settings.one_shot ? CalibrationOrder::kOriginal
                                             : CalibrationOrder::kQuantized;
  options.hidden_bytes = options_.hidden_bytes;
  options.keep_original = Request({}).needs.original();
  options.cancelled = options_.cancelled;
  options.runner.n_threads = pool_.n_threads();
  options.runner.device = options_.device;
  options.runner.on_device_note = options_.on_device_note;
  RETURN_IF_ERROR(Embedding(store));
  const auto stored = WithStoredEmbedding(
      model_, embedding_,
      embedding_ == nullptr ? nullptr : store->Find(0, embedding_->meta.name));
  options.embedding = stored.get();
  ASSIGN_OR_RETURN(calibrator_, BlockCalibrator::Create(shown_.get(), overlay_,
                                                        samples_, options));
  if (FileExists(store->calibrator_path())) {
    RETURN_IF_ERROR(
        Annotate(calibrator_->Restore(store->calibrator_path(), fingerprint),
                 "begin anew with --restart"));
    n_resumed_ = calibrator_->next_block();
    // Damage is told before hours go into the rest.
    RETURN_IF_ERROR(store->Load(0, n_resumed_));
    on_saved();
  }
  TensorSolverOptions solver;
  solver.solver = options_.settings.solver;
  solver.solve = options_.solve;
  solver.moments = fisher_ == nullptr ? nullptr : fisher_->moments.get();
  solver.cancelled = options_.cancelled;
  solver.device = options_.device;
  solver.on_device_note = options_.on_device_note;
  solver_ = std::make_unique<TensorSolver>(&model_, &pool_, solver);
  if (options_.verify.n_windows > 0 && !store->Has(calibrator_->n_blocks())) {
    ASSIGN_OR_RETURN(
        judge_,
        BlockJudge::Create(shown_.get(), overlay_, samples_, options_.verify,
                           {pool_.n_threads(), options_.cancelled,
                            options_.device, options_.on_device_note}));
  }
  return absl::OkStatus();
}

absl::Status CompensatedRun::Blocks(uint64_t fingerprint, SolvedStore* store,
                                    const std::function<void()>& on_saved) {
  RETURN_IF_ERROR(Begin(fingerprint, store, on_saved));
  const int64_t n_blocks = calibrator_->n_blocks();
  while (calibrator_->next_block() < n_blocks) {
    RETURN_IF_ERROR(OneBlock(store));
    RETURN_IF_ERROR(calibrator_->Save(store->calibrator_path(), fingerprint));
    on_saved();
  }
  if (!store->Has(n_blocks)) {
    RETURN_IF_ERROR(OutputMatrix(store));
  }
  return store->Load(
      0, JobsOf(n_blocks + 1).empty() ? n_blocks + 1 : n_blocks + 2);
}

}  // namespace narrow
