#include "converter/compensated/compensated_convert.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/backward/fisher_file.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/weights/weights.h"
#include "converter/packed_output/output_folder.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// One run and where its blocks are kept.
struct Work {
  size_t first_output = 0;
  size_t n_outputs = 1;
  std::unique_ptr<CompensatedRun> run;
  uint64_t fingerprint = 0;
  std::unique_ptr<OutputFolder> folder;
  std::unique_ptr<SolvedStore> store;
  bool has_blocks = false;
};

class Conversion {
 public:
  Conversion(const Checkpoint& model, const CalibrationSamples& samples,
             absl::Span<const Output> outputs,
             const CompensatedConvertOptions& options)
      : model_(model), samples_(samples), outputs_(outputs), options_(options) {
    outcomes_.resize(outputs.size());
    const size_t step = options.run.settings.one_shot ? outputs.size() : 1;
    for (size_t first = 0; first < outputs.size(); first += step) {
      works_.emplace_back();
      works_.back().first_output = first;
      works_.back().n_outputs = step;
    }
  }

  absl::Status Run(const PipelineOptions& pipeline) {
    const absl::Status status = WriteAll(pipeline);
    if (absl::IsDataLoss(status) &&
        absl::StrContains(status.message(), "not finite")) {
      // These two go through the whole model before they are solved, and are
      // seen first in what it computes.
      for (const char* name : {"token_embd.weight", "output.weight"}) {
        if (const CheckpointTensor* tensor = model_.Find(name)) {
          RETURN_IF_ERROR(CheckFinite(model_, *tensor));
        }
      }
    }
    return status;
  }

  std::vector<CompensatedOutcome> TakeOutcomes() {
    return std::move(outcomes_);
  }

  // What was done is worth keeping where the same command can succeed later.
  absl::Status Stopped(const absl::Status& status) {
    const bool may_go_on = MayGoOn(status);
    const Work* kept = nullptr;
    for (const Work& work : works_) {
      if (may_go_on && work.has_blocks) {
        work.folder->KeepWork();
        kept = &work;
      }
    }
    if (kept == nullptr) {
      return absl::IsCancelled(status) ? Annotate(status, "nothing was written")
                                       : WithRestart(status);
    }
    return Annotate(status, absl::StrCat("the same command goes on after the "
                                         "last finished block, kept in ",
                                         kept->folder->work_path()));
  }

 private:
  absl::Status WriteAll(const PipelineOptions& pipeline) {
    // What is in the way of any is told before hours go into the first.
    for (Work& work : works_) {
      RETURN_IF_ERROR(Begin(&work));
    }
    if (options_.run.settings.fisher) {
      RETURN_IF_ERROR(WeighTokens());
    }
    for (Work& work : works_) {
      RETURN_IF_ERROR(Solve(&work));
      RETURN_IF_ERROR(Write(work, pipeline));
    }
    for (Work& work : works_) {
      work.folder->DropWork();
    }
    return absl::OkStatus();
  }

  absl::Status WithRestart(absl::Status status) const {
    for (const Work& work : works_) {
      if (work.folder != nullptr) {
        status = work.folder->NameRestart(status);
      }
    }
    return status;
  }

  absl::Status Begin(Work* work) {
    std::vector<const Plan*> plans;
    for (size_t i = 0; i < work->n_outputs; ++i) {
      plans.push_back(outputs_[work->first_output + i].plan);
    }
    work->run = std::make_unique<CompensatedRun>(&model_, std::move(plans),
                                                 &samples_, options_.run);
    ASSIGN_OR_RETURN(work->fingerprint, work->run->Fingerprint());
    const std::string& path = outputs_[work->first_output].path;
    ASSIGN_OR_RETURN(work->folder,
                     OutputFolder::Create(absl::StrCat(path, ".solved")));
    RETURN_IF_ERROR(work->folder->BeginWork(
        absl::StrFormat("narrow convert --solver %016x", work->fingerprint),
        options_.restart));
    work->store = std::make_unique<SolvedStore>(work->folder->work_path());
    work->has_blocks = work->folder->keeps_work();
    return absl::OkStatus();
  }

  // The same for all runs, and kept with the first one.
  absl::Status WeighTokens() {
    Work& work = works_.front();
    const std::string path = JoinPath(work.folder->work_path(), "fisher");
    if (FileExists(path)) {
      ASSIGN_OR_RETURN(fisher_, ReadFisherWeights(path, work.fingerprint));
    } else {
      RETURN_IF_ERROR(ComputeWeights());
      RETURN_IF_ERROR(WriteFisherWeights(fisher_, work.fingerprint, path));
    }
    work.has_blocks = true;  // enough to be worth keeping
    for (Work& each : works_) {
      each.run->set_fisher(&fisher_);
    }
    for (CompensatedOutcome& outcome : outcomes_) {
      outcome.mean_loss = fisher_.mean_loss;
    }
    return absl::OkStatus();
  }

  absl::Status ComputeWeights() {
    if (options_.fisher != nullptr) {
      fisher_ = *options_.fisher;
      return absl::OkStatus();
    }
    FisherOptions options;
    options.per_input = true;
    options.embedding = true;
    options.max_moment_outputs = options_.run.settings.max_coupled_outputs;
    options.hidden_bytes = options_.run.hidden_bytes;
    options.n_threads = options_.run.n_threads;
    options.cancelled = options_.run.cancelled;
    options.device = options_.run.device;
    options.on_device_note = options_.run.on_device_note;
    ASSIGN_OR_RETURN(fisher_, ComputeFisherWeights(&model_, samples_, options,
                                                   options_.on_weights));
    return absl::OkStatus();
  }

  absl::Status Solve(Work* work) {
    if (options_.on_run) {
      options_.on_run(work->first_output, work->n_outputs);
    }
    RETURN_IF_ERROR(work->run->Blocks(work->fingerprint, work->store.get(),
                                      [work] { work->has_blocks = true; }));
    for (size_t i = 0; i < work->n_outputs; ++i) {
      const int output = static_cast<int>(i);
      CompensatedOutcome& outcome = outcomes_[work->first_output + i];
      outcome.n_blocks_resumed = work->run->n_resumed();
      outcome.solved = work->store->reports(output);
      outcome.verdicts = work->store->verdicts(output);
      outcome.n_verify_windows = options_.run.verify.n_windows;
      outcome.n_blocks = model_.config().n_layers;
      const Plan& plan = *outputs_[work->first_output + i].plan;
      outcome.plain =
          FindSolveTargets(plan, model_, options_.run.settings.fisher).plain;
    }
    work->run.reset();  // its threads and what it shows
    return absl::OkStatus();
  }

  absl::Status Write(const Work& work, const PipelineOptions& pipeline) const {
    std::vector<Plan> plans;
    plans.reserve(work.n_outputs);
    std::vector<Output> solved;
    for (size_t i = 0; i < work.n_outputs; ++i) {
      const Output& output = outputs_[work.first_output + i];
      plans.push_back(*output.plan);
      RETURN_IF_ERROR(TakeRows(work, static_cast<int>(i), &plans.back()));
      solved.push_back({&plans.back(), output.path});
    }
    return options_.write ? options_.write(solved)
                          : WriteOutputs(model_, solved, pipeline);
  }

  absl::Status TakeRows(const Work& work, int output, Plan* plan) const {
    for (const SolveTarget& target :
         FindSolveTargets(*plan, model_, options_.run.settings.fisher).solved) {
      PlannedTensor& planned = plan->tensors[target.tensor];
      const std::string& name = planned.meta.name;
      planned.encoded = work.store->Find(output, name);
      if (planned.encoded == nullptr ||
          work.store->n_bytes(output, name) != planned.meta.n_bytes()) {
        return absl::DataLossError(absl::StrCat(
            "the finished blocks have no tensor ", QuotedName(name),
            " as planned; begin anew with --restart; in ",
            work.folder->work_path()));
      }
    }
    return absl::OkStatus();
  }

  const Checkpoint& model_;
  const CalibrationSamples& samples_;
  const absl::Span<const Output> outputs_;
  const CompensatedConvertOptions& options_;
  std::vector<Work> works_;
  std::vector<CompensatedOutcome> outcomes_;
  FisherWeights fisher_;
};

}  // namespace

absl::StatusOr<std::vector<CompensatedOutcome>> WriteCompensated(
    const Checkpoint& model, const CalibrationSamples& samples,
    absl::Span<const Output> outputs, const CompensatedConvertOptions& options,
    const PipelineOptions& pipeline) {
  Conversion conversion(model, samples, outputs, options);
  const absl::Status status = conversion.Run(pipeline);
  if (!status.ok()) {
    return conversion.Stopped(status);
  }
  return conversion.TakeOutcomes();
}

}  // namespace narrow
