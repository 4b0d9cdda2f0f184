#include "converter/batch/batch_run.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/importance/importance.h"
#include "converter/batch/target_manifest.h"
#include "converter/batch/target_record.h"
#include "converter/fallbacks.h"
#include "converter/gguf/output_paths.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/provenance/manifest.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/report/quantize_card.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxReadmeBytes = 64 << 20;

// So many shares that one of them reads next to nothing: the identity of a
// model is its settings, its tensors' names, and the ends of their bytes.
constexpr int64_t kShares = int64_t{1} << 40;

std::string DiscardedPath(const std::string& out) {
  return JoinPath(RecordFolder(out), "discarded");
}

class ModelRun {
 public:
  ModelRun(const ReleasePlan& plan, const PlannedModel& model,
           const BatchOptions& options)
      : out_(plan.out), model_(model), options_(options) {
    outcome_.model = &model;
    for (const PlannedTarget& target : model.targets) {
      TargetOutcome row;
      row.target = &target;
      outcome_.targets.push_back(std::move(row));
    }
  }

  ModelOutcome Run() {
    const auto share = DigestModelShare(model_.path, 0, kShares,
                                        options_.n_threads, options_.cancelled);
    if (!share.ok()) {
      FailAll(Annotate(share.status(), absl::StrCat("model ", model_.path)));
      return std::move(outcome_);
    }
    for (TargetOutcome& row : outcome_.targets) {
      row.status = Look(share->identity, &row);
    }
    WriteGguf();
    for (TargetOutcome& row : outcome_.targets) {
      if (IsPending(row) && !row.target->is_gguf && !Cancelled()) {
        Log(absl::StrCat(model_.name, ": ", row.target->name));
        row.status = WritePacked(&row);
      }
    }
    for (TargetOutcome& row : outcome_.targets) {
      if (row.status.ok() && row.record.done() && !Cancelled()) {
        row.status = ValidateOne(&row);
      }
    }
    return std::move(outcome_);
  }

 private:
  bool Cancelled() const {
    return options_.cancelled != nullptr && options_.cancelled->load();
  }

  void Log(absl::string_view line) const {
    if (options_.log) {
      options_.log(line);
    }
  }

  void FailAll(const absl::Status& status) {
    for (TargetOutcome& row : outcome_.targets) {
      row.status = status;
    }
  }

  static bool IsPending(const TargetOutcome& row) {
    return row.status.ok() && !row.record.done();
  }

  std::string RecordOf(const TargetOutcome& row) const {
    return RecordPath(out_, row.target->output);
  }

  // A folder is moved away before it is taken apart, so that its name never
  // stands for a part of it.
  absl::Status Remove(const std::string& path) const {
    const std::string discarded = DiscardedPath(out_);
    std::error_code error;
    fs::remove_all(discarded, error);
    if (!error) {
      fs::rename(path, discarded, error);
    }
    if (!error) {
      fs::remove_all(discarded, error);
    }
    return error ? absl::UnavailableError(
                       absl::StrCat(error.message(), "; removing ", path))
                 : absl::OkStatus();
  }

  // What is there of an output, and a record that work on it has begun.
  absl::Status Look(const Sha256Digest& identity, TargetOutcome* row) {
    const PlannedTarget& target = *row->target;
    ASSIGN_OR_RETURN(const std::string key, TargetKey(target, identity));
    row->record = ReadRecord(RecordOf(*row));
    const bool is_there =
        FileExists(target.output) || IsDirectory(target.output);
    const bool is_ours = row->record.has_key();
    if (row->record.key() == key && is_there) {
      if (!row->record.done()) {
        // Names are given to what is complete alone: a run was stopped
        // between that and its record.
        return Recorded(row);
      }
      const absl::Status whole = CheckFiles(out_, target.output, row->record);
      if (whole.ok()) {
        row->was_there = true;
        Log(absl::StrCat(model_.name, ": ", target.name, ": there already"));
        return EnsureManifest(*row);
      }
      Log(absl::StrCat(model_.name, ": ", target.name, ": done again, since ",
                       whole.message()));
    }
    if (is_there && !is_ours && !options_.replace) {
      return absl::AlreadyExistsError(absl::StrCat(
          target.output,
          " is there and no run of a release made it; remove it, give the "
          "target another name, or use --replace"));
    }
    if (is_there) {
      // The record first says that there is nothing, and its folder is there.
      row->record.set_done(false);
      row->record.set_key("removed");
      RETURN_IF_ERROR(WriteRecord(RecordOf(*row), row->record));
      RETURN_IF_ERROR(Remove(target.output));
    }
    RemoveManifest(ManifestPath(target.output));  // of what it was
    row->record.Clear();
    row->record.set_key(key);
    return WriteRecord(RecordOf(*row), row->record);
  }

  // The output is complete under its name.
  absl::Status Recorded(TargetOutcome* row) {
    RETURN_IF_ERROR(RecordFiles(out_, row->target->output, &row->record));
    RETURN_IF_ERROR(Measure(row));
    RETURN_IF_ERROR(EnsureManifest(*row));
    row->record.set_done(true);
    return WriteRecord(RecordOf(*row), row->record);
  }

  // A recorder that knows the command of `row`. Its inputs are hashed once
  // for all targets of the model, beside the work on the first.
  absl::StatusOr<ProvenanceRecorder*> RecorderOf(const TargetOutcome& row) {
    const std::string recipe_path = RecipePath(out_, row.target->output);
    const TargetCommand command =
        CommandOfTarget(model_.path, *row.target, recipe_path);
    if (!command.recipe.empty()) {
      RETURN_IF_ERROR(WriteTextFile(recipe_path, command.recipe));
    }
    ASSIGN_OR_RETURN(ProvenanceRequest request,
                     options_.provenance(command.words));
    if (recorder_ == nullptr) {
      recorder_ = ProvenanceRecorder::Begin(request);
    }
    recorder_->set_command(request);
    return recorder_.get();
  }

  // Where there is none of what is there now.
  absl::Status EnsureManifest(const TargetOutcome& row) {
    const std::string& output = row.target->output;
    if (!options_.provenance || HasManifest(out_, output, row.record)) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(ProvenanceRecorder * recorder, RecorderOf(row));
    return recorder->WriteBeside(output, {});
  }

  // Bytes of tensors and numbers of weights, as the plan has them.
  absl::Status Measure(TargetOutcome* row) {
    if (row->target->is_gguf) {
      RETURN_IF_ERROR(OpenCheckpoint());
      ASSIGN_OR_RETURN(const GgufWork work, PlanOne(row));
      row->record.set_tensor_bytes(work.plan->tensor_bytes);
      row->record.set_n_weights(work.plan->n_weights);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(OpenInput());
    ASSIGN_OR_RETURN(const QuantizePlan plan,
                     PlanQuantize(*input_, row->target->quantize, {}));
    row->record.set_tensor_bytes(plan.tensor_bytes);
    row->record.set_n_weights(plan.n_weights);
    return absl::OkStatus();
  }

  struct GgufWork {
    TargetOutcome* row;
    std::unique_ptr<ImportanceMatrix> importance;  // the plan points into it
    std::unique_ptr<Plan> plan;
  };

  absl::Status OpenCheckpoint() {
    if (checkpoint_ == nullptr) {
      ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(model_.path, {}));
    }
    return absl::OkStatus();
  }

  absl::Status OpenInput() {
    if (input_ == nullptr) {
      ASSIGN_OR_RETURN(input_, OpenModelInput(model_.path, {}));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<GgufWork> PlanOne(TargetOutcome* row) {
    const PlannedTarget& target = *row->target;
    GgufWork work = {row, nullptr, nullptr};
    if (!target.imatrix.empty()) {
      ASSIGN_OR_RETURN(ImportanceMatrix matrix, ReadImportance(target.imatrix));
      work.importance = std::make_unique<ImportanceMatrix>(std::move(matrix));
    }
    ASSIGN_OR_RETURN(Plan plan, MakePlan(*checkpoint_, target.recipe,
                                         work.importance.get()));
    if (target.recipe.mode == Mode::kStrict) {
      const std::vector<std::string> problems = StrictProblems(plan);
      if (!problems.empty()) {
        return Annotate(StrictError(plan, problems.size()), problems.front());
      }
    }
    RETURN_IF_ERROR(CheckInputIsKept(*checkpoint_, target.output));
    work.plan = std::make_unique<Plan>(std::move(plan));
    return work;
  }

  // All pending file types in one pass; where that fails, one by one, so that
  // an error stays with its target.
  void WriteGguf() {
    std::vector<GgufWork> works;
    for (TargetOutcome& row : outcome_.targets) {
      if (!IsPending(row) || !row.target->is_gguf || Cancelled()) {
        continue;
      }
      row.status = OpenCheckpoint();
      if (row.status.ok()) {
        auto work = PlanOne(&row);
        row.status = work.status();
        if (work.ok()) {
          works.push_back(*std::move(work));
        }
      }
    }
    std::vector<const GgufWork*> all;
    std::string names;
    for (const GgufWork& work : works) {
      all.push_back(&work);
      absl::StrAppend(&names, names.empty() ? "" : ", ",
                      work.row->target->name);
    }
    if (all.empty()) {
      return;
    }
    Log(absl::StrCat(model_.name, ": ", names));
    if (options_.provenance) {
      // Begins to hash the model; an error comes again with the manifest.
      RecorderOf(*works.front().row).status().IgnoreError();
    }
    const absl::Status together = WriteTogether(all);
    for (const GgufWork& work : works) {
      absl::Status status = together;
      if (!status.ok() && all.size() > 1 && !Cancelled()) {
        status = WriteTogether({&work});
      }
      work.row->status = status.ok() ? Recorded(work.row) : status;
    }
  }

  absl::Status WriteTogether(const std::vector<const GgufWork*>& works) {
    std::vector<Output> outputs;
    for (const GgufWork* work : works) {
      outputs.push_back({work->plan.get(), work->row->target->output});
    }
    PipelineOptions pipeline;
    pipeline.n_threads = options_.n_threads;
    pipeline.memory_bytes = options_.memory_bytes;
    pipeline.on_progress = options_.on_written;
    pipeline.cancelled = options_.cancelled;
    return WriteOutputs(*checkpoint_, outputs, pipeline);
  }

  absl::Status WritePacked(TargetOutcome* row) {
    RETURN_IF_ERROR(OpenInput());
    const PlannedTarget& target = *row->target;
    ASSIGN_OR_RETURN(const QuantizePlan plan,
                     PlanQuantize(*input_, target.quantize, {}));
    std::optional<ImportanceMatrix> importance;
    if (target.quantize.has_imatrix()) {
      ASSIGN_OR_RETURN(importance, ReadImportance(target.quantize.imatrix()));
    }
    RunOptions run;
    run.out = target.output;
    run.n_threads = options_.n_threads;
    run.importance = importance.has_value() ? &*importance : nullptr;
    run.on_written = options_.on_written;
    run.cancelled = options_.cancelled;
    run.model_card = [&](const std::string&, const QuantizeResult& result) {
      return Card(plan, result, target);
    };
    if (options_.provenance) {
      ASSIGN_OR_RETURN(ProvenanceRecorder * recorder, RecorderOf(*row));
      run.before_finish = [&, recorder](const std::string& partial) {
        return recorder->WriteInto(partial, target.output, {});
      };
    }
    RETURN_IF_ERROR(RunQuantize(*input_, plan, run).status());
    return Recorded(row);
  }

  absl::StatusOr<std::string> Card(const QuantizePlan& plan,
                                   const QuantizeResult& result,
                                   const PlannedTarget& target) const {
    QuantizeCardInputs card{
        input_.get(), &plan,
        &result,      absl::StrCat("narrow batch  # ", target.name),
        "",           std::nullopt};
    const std::string readme = JoinPath(input_->folder, "README.md");
    if (FileExists(readme)) {
      ASSIGN_OR_RETURN(card.original_readme,
                       ReadTextFile(readme, kMaxReadmeBytes));
    }
    return QuantizeCard(card);
  }

  absl::Status ValidateOne(TargetOutcome* row) {
    if (!model_.validation.has_value() || !options_.validate) {
      row->record.clear_validation();
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::string key,
                     ValidationKey(*model_.validation, row->record.key()));
    if (row->record.validation().key() == key) {
      return ManifestMeasured(*row);
    }
    row->record.clear_validation();
    Log(absl::StrCat(model_.name, ": validating ", row->target->name));
    auto validation =
        options_.validate(model_.path, *row->target, *model_.validation,
                          JoinPath(RecordFolder(out_), "cache"));
    RETURN_IF_ERROR(Annotate(validation.status(), "validating"));
    validation->set_key(key);
    *row->record.mutable_validation() = *std::move(validation);
    RETURN_IF_ERROR(WriteRecord(RecordOf(*row), row->record));
    return ManifestMeasured(*row);
  }

  absl::Status ManifestMeasured(const TargetOutcome& row) const {
    return options_.provenance
               ? SetMeasured(row.target->output, row.record.validation())
               : absl::OkStatus();
  }

  const std::string& out_;
  const PlannedModel& model_;
  const BatchOptions& options_;
  ModelOutcome outcome_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<const ModelInput> input_;
  std::unique_ptr<ProvenanceRecorder> recorder_;
};

}  // namespace

BatchOutcome RunBatch(const ReleasePlan& plan, const BatchOptions& options) {
  BatchOutcome outcome;
  bool all_ok = true;
  for (const PlannedModel& model : plan.models) {
    outcome.models.push_back(ModelRun(plan, model, options).Run());
    for (const TargetOutcome& row : outcome.models.back().targets) {
      all_ok = all_ok && row.status.ok();
    }
    if (options.cancelled != nullptr && options.cancelled->load()) {
      outcome.cancelled = true;
      return outcome;
    }
  }
  std::error_code ignored;
  fs::remove_all(DiscardedPath(plan.out), ignored);
  if (all_ok) {  // what candidates of an original share is not needed more
    fs::remove_all(JoinPath(RecordFolder(plan.out), "cache"), ignored);
  }
  return outcome;
}

}  // namespace narrow
