#include "converter/commands/convert/convert_run.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/commands/convert/convert_allocated.h"
#include "converter/commands/convert/convert_checks.h"
#include "converter/commands/convert/convert_manifest.h"
#include "converter/commands/convert/convert_solved.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/compensated/compensated_report.h"
#include "converter/conversion_report.h"
#include "converter/gguf/output_paths.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/progress.h"
#include "converter/provenance/recorder.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// The path of each output, and that none is the input.
absl::StatusOr<std::vector<std::string>> OutputPaths(
    const ConvertFlags& flags, const std::vector<Recipe>& recipes,
    const AllocationJob& allocation, const PartJob& part) {
  std::vector<std::string> paths;
  for (const Recipe& recipe : recipes) {
    paths.push_back(part.on ? PartPath(flags.model, flags.out,
                                       RecipeName(recipe), part.request.shard)
                            : OutputPath(flags.model, flags.out,
                                         allocation.on ? allocation.label
                                                       : RecipeName(recipe),
                                         recipes.size() > 1));
    RETURN_IF_ERROR(CheckOutputFile(paths.back(), flags.model, flags.json));
  }
  return paths;
}

FilesAsked FilesAskedOf(const ConvertFlags& flags) {
  FilesAsked asked;
  asked.is_part = !flags.shard.empty();
  asked.model = flags.model;
  asked.json = flags.json;
  asked.recipe = flags.allocation.recipe;
  asked.inputs = flags.solver.texts;
  for (const std::string& file :
       {flags.importance.path, flags.types.tensor_type_file,
        flags.allocation.probe}) {
    asked.inputs.push_back(file);
  }
  return asked;
}

// One run of the command, from checked flags to files and reports.
class Conversion {
 public:
  Conversion(const CLI::App& command, const ConvertFlags& flags,
             std::vector<Recipe> recipes, const SolverRequest& solver,
             const AllocationJob& allocation, const PartJob& part)
      : command_(command),
        flags_(flags),
        recipes_(std::move(recipes)),
        solver_(solver),
        allocation_(allocation),
        part_(part) {
    part_.n_threads = flags.n_threads;
    part_.quiet = flags.quiet;
  }

  absl::Status Run() {
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(CheckJsonPath(flags_.json));
    ASSIGN_OR_RETURN(device_, OpenDeviceAsked(flags_.device));
    RETURN_IF_ERROR(Open());
    if (allocation_.on) {
      RETURN_IF_ERROR(Choose());
    }
    RETURN_IF_ERROR(MakePlans());
    Announce();
    RETURN_IF_ERROR(CheckStrict(plans_));
    if (solver_.on) {
      RETURN_IF_ERROR(Sample());
      WarnOfShortText(*model_, outputs_, *text_);
    }
    provenance_ = ProvenanceOf(command_, flags_.manifest, flags_.n_threads);
    if (!flags_.plans.folder.empty() && !flags_.dry_run) {
      return WriteThePlans(*model_, plans_.front(), flags_.plans,
                           flags_.importance, flags_.checkpoint, provenance_,
                           flags_.quiet);
    }
    if (part_.on) {
      return RunPart();
    }
    if (!flags_.dry_run) {
      RETURN_IF_ERROR(Write());
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    if (!flags_.quiet && flags_.json != "-") {
      Print(seconds);
    }
    return Json(seconds);
  }

 private:
  absl::Status Open() {
    ASSIGN_OR_RETURN(paths_, OutputPaths(flags_, recipes_, allocation_, part_));
    ASSIGN_OR_RETURN(model_, Checkpoint::Open(flags_.model, flags_.checkpoint));
    WarnOfDirectoryOptions(command_, *model_);
    ASSIGN_OR_RETURN(importance_, ReadImportanceAsked(flags_.importance));
    return absl::OkStatus();
  }

  // The text's windows, once.
  absl::Status Sample() {
    if (!text_.has_value()) {
      ASSIGN_OR_RETURN(text_, SampleSolverText(*model_, solver_));
    }
    return absl::OkStatus();
  }

  // The types of every tensor, for a target.
  absl::Status Choose() {
    RETURN_IF_ERROR(
        CheckRecipeFile(*model_, FilesAskedOf(flags_), paths_.front()));
    RETURN_IF_ERROR(Sample());
    ASSIGN_OR_RETURN(chosen_,
                     ChooseTypes(*model_, recipes_.front(), importance(),
                                 allocation_, solver_, text_->probed(),
                                 paths_.front(), allocation_run()));
    recipes_ = {chosen_->allocation.recipe};
    return absl::OkStatus();
  }

  absl::Status MakePlans() {
    for (const Recipe& recipe : recipes_) {
      absl::StatusOr<Plan> plan = MakePlan(*model_, recipe, importance());
      if (!plan.ok()) {
        return Annotate(plan.status(),
                        absl::StrCat("planning ", RecipeName(recipe)));
      }
      plans_.push_back(*std::move(plan));
    }
    for (size_t i = 0; i < plans_.size(); ++i) {
      outputs_.push_back({&plans_[i], paths_[i]});
    }
    return CheckFiles(*model_, outputs_, FilesAskedOf(flags_));
  }

  // Tables of a dry run, warnings of any.
  void Announce() const {
    for (const Output& output : outputs_) {
      if (flags_.dry_run && flags_.json != "-") {
        std::fputs(TensorTable(*output.plan).c_str(), stdout);
      }
      for (const std::string& warning : Warnings(*output.plan)) {
        std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
      }
    }
  }

  absl::Status Write() {
    const auto recorder = ProvenanceRecorder::Begin(provenance_);
    RETURN_IF_ERROR(WriteFiles());
    return WriteManifests(recorder.get());
  }

  absl::Status WriteManifests(ProvenanceRecorder* recorder) {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Recipe& recipe = outputs_[i].plan->recipe;
      recorder->set_arguments(
          chosen_.has_value()
              ? AllocatedArguments(provenance_.arguments, recipe, solver_.on)
              : WithOption(provenance_.arguments, "--to", RecipeName(recipe)));
      Measurements measured;
      if (chosen_.has_value() && chosen_->measured.has_value()) {
        measured.push_back(
            Measured("KL divergence", *chosen_->measured, chosen_->n_windows));
      }
      if (i < outcomes_.size() && !outcomes_[i].solved.empty()) {
        measured.push_back(MeanError(outcomes_[i].solved));
      }
      RETURN_IF_ERROR(
          recorder->WriteBeside(FilesOf(outputs_[i]).front(), measured));
    }
    return absl::OkStatus();
  }

  absl::Status WriteFiles() {
    if (solver_.on) {
      SolvedJob job = solved_job();
      // (Weights that were of the very samples.)
      if (chosen_.has_value() && chosen_->fisher.has_value() &&
          text_->n_cover == 0) {
        job.fisher = &*chosen_->fisher;
      }
      ASSIGN_OR_RETURN(outcomes_,
                       WriteSolved(*model_, *text_, outputs_, job, {}));
    } else {
      RETURN_IF_ERROR(WritePlain());
    }
    if (!chosen_.has_value()) {
      return absl::OkStatus();
    }
    return JudgeChoice(*model_, FilesOf(outputs_.front()).front(), solver_,
                       text_->probed(), allocation_run(), &*chosen_);
  }

  // One part of the output, instead of the output; the plan is checked.
  absl::Status RunPart() {
    const auto start = std::chrono::steady_clock::now();
    part_.cancelled = CatchSignals();
    part_.device = device_;
    part_.request.only = flags_.only;
    if (flags_.manifest && part_.request.shard.index == 1 && !flags_.dry_run) {
      ASSIGN_OR_RETURN(part_.request.provenance,
                       ProvenanceForParts(provenance_));
    }
    const Output& output = outputs_.front();
    const Plan& plan = *output.plan;
    int64_t file_bytes = 0;
    if (!flags_.dry_run && solver_.on) {
      ASSIGN_OR_RETURN(
          file_bytes, WriteSolvedPart(*model_, *text_, plan, output.path, part_,
                                      solved_job()));
    } else if (!flags_.dry_run) {
      ASSIGN_OR_RETURN(file_bytes,
                       WriteOnePart(*model_, plan, output.path, part_));
    }
    if (!flags_.quiet && flags_.json != "-") {
      std::fputs(
          PartSummary(plan, output.path, part_, file_bytes, flags_.dry_run)
              .c_str(),
          stdout);
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    return WriteJson(flags_.json, PartJson(plan, output.path, part_, file_bytes,
                                           seconds, flags_.dry_run));
  }

  absl::Status WritePlain() const {
    int64_t n_bytes = 0;
    for (const CheckpointTensor& tensor : model_->tensors()) {
      n_bytes += tensor.meta.n_bytes();
    }
    Progress progress("converting", "B", n_bytes, flags_.quiet);
    PipelineOptions options;
    options.n_threads = flags_.n_threads;
    options.on_progress = [&progress](int64_t n) { progress.Add(n); };
    options.cancelled = CatchSignals();
    options.device = device_;
    options.on_device_note = PrintDeviceNote;
    return WriteOutputs(*model_, outputs_, options);
  }

  void Print(double seconds) const {
    if (chosen_.has_value()) {
      std::fputs(AllocationText(*chosen_, allocation_).c_str(), stdout);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      std::fputs(Summary(outputs_[i], flags_.dry_run).c_str(), stdout);
      if (solver_.on) {
        std::fputs((flags_.dry_run ? SolvedDryRun(*model_, outputs_[i], *text_,
                                                  solver_.fisher)
                                   : CompensatedSummary(outcomes_[i]))
                       .c_str(),
                   stdout);
      }
    }
    if (!flags_.dry_run) {
      std::printf("in %s\n", FormatDuration(seconds).c_str());
    }
  }

  absl::Status Json(double seconds) const {
    const auto more = [&](size_t output, JsonWriter* json) {
      if (chosen_.has_value()) {
        AllocationJson(*chosen_, allocation_, json);
      }
      if (output < outcomes_.size()) {
        CompensatedJson(outcomes_[output], json);
      }
    };
    return WriteJson(flags_.json,
                     ConversionJson(outputs_, seconds, flags_.dry_run, more));
  }

  const ImportanceMatrix* importance() const {
    return importance_.has_value() ? &*importance_ : nullptr;
  }
  SolvedJob solved_job() const {
    SolvedJob job;
    job.request = solver_;
    job.n_threads = flags_.n_threads;
    job.device = device_;
    job.quiet = flags_.quiet;
    job.cancelled = CatchSignals();
    return job;
  }
  AllocationRun allocation_run() const {
    return {flags_.n_threads, flags_.quiet, CatchSignals(), device_};
  }

  const CLI::App& command_;
  const ConvertFlags& flags_;
  std::vector<Recipe> recipes_;
  const SolverRequest& solver_;
  const AllocationJob& allocation_;
  PartJob part_;
  std::optional<Device> device_;  // none: the processor
  ProvenanceRequest provenance_;
  std::vector<std::string> paths_;
  std::unique_ptr<Checkpoint> model_;
  std::optional<ImportanceMatrix> importance_;
  std::optional<SolverText> text_;
  std::optional<Chosen> chosen_;
  std::vector<Plan> plans_;
  std::vector<Output> outputs_;
  std::vector<CompensatedOutcome> outcomes_;  // of a solver
};

}  // namespace

absl::Status RunConversion(const CLI::App& command, const ConvertFlags& flags,
                           std::vector<Recipe> recipes,
                           const SolverRequest& solver,
                           const AllocationJob& allocation,
                           const PartJob& part) {
  return Conversion(command, flags, std::move(recipes), solver, allocation,
                    part)
      .Run();
}

}  // namespace narrow
