#include "converter/batch/batch_run.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/importance/importance.h"
#include "converter/batch/model_work.h"
#include "converter/batch/target/target_manifest.h"
#include "converter/batch/target/target_record.h"
#include "converter/packed_output/output_folder.h"
#include "converter/pipeline.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/report/quantize_card.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxReadmeBytes = 64 << 20;

std::string CachePath(const std::string& out) {
  return JoinPath(RecordFolder(out), "cache");
}

class ModelRun {
 public:
  ModelRun(const ReleasePlan& plan, const PlannedModel& model,
           const BatchOptions& options)
      : out_(plan.out),
        model_(model),
        options_(options),
        work_(plan.out, model, options) {
    outcome_.model = &model;
    for (const PlannedTarget& target : model.targets) {
      TargetOutcome row;
      row.target = &target;
      outcome_.targets.push_back(std::move(row));
    }
  }

  ModelOutcome Run() {
    const absl::Status begun = work_.Begin();
    if (!begun.ok()) {
      for (TargetOutcome& row : outcome_.targets) {
        row.status = Annotate(begun, absl::StrCat("model ", model_.path));
      }
      return std::move(outcome_);
    }
    for (TargetOutcome& row : outcome_.targets) {
      row.status = work_.Look(&row);
    }
    WriteGguf();
    for (TargetOutcome& row : outcome_.targets) {
      if (IsPending(row) && !row.target->is_gguf && !options_.is_cancelled()) {
        options_.Log(absl::StrCat(model_.name, ": ", row.target->name));
        row.status = WritePacked(&row);
      }
    }
    for (TargetOutcome& row : outcome_.targets) {
      if (row.status.ok() && row.record.done() && !options_.is_cancelled()) {
        row.status = ValidateOne(&row);
      }
    }
    return std::move(outcome_);
  }

 private:
  struct GgufWork {
    TargetOutcome* row;
    PlannedGguf planned;
  };
  using Group = std::vector<const GgufWork*>;

  static bool IsPending(const TargetOutcome& row) {
    return row.status.ok() && !row.record.done();
  }

  // All pending file types, those without a solver in one pass, and those that
  // share a solver's pass in one of it.
  void WriteGguf() {
    std::vector<GgufWork> works;
    for (TargetOutcome& row : outcome_.targets) {
      if (!IsPending(row) || !row.target->is_gguf || options_.is_cancelled()) {
        continue;
      }
      auto planned = work_.PlanGguf(*row.target);
      row.status = planned.status();
      if (planned.ok()) {
        works.push_back({&row, *std::move(planned)});
      }
    }
    for (const Group& group : GroupsOf(works)) {
      if (!options_.is_cancelled()) {
        WriteGroup(group);
      }
    }
  }

  static std::vector<Group> GroupsOf(const std::vector<GgufWork>& works) {
    std::vector<Group> groups;
    for (const GgufWork& work : works) {
      const PlannedTarget& target = *work.row->target;
      Group* shared = nullptr;
      for (Group& group : groups) {
        const PlannedTarget& first = *group.front()->row->target;
        if (first.solver == target.solver &&
            (target.solver.empty() || target.is_one_shot)) {
          shared = &group;
        }
      }
      if (shared == nullptr) {
        shared = &groups.emplace_back();
      }
      shared->push_back(&work);
    }
    return groups;
  }

  // Where all together fail, one by one, so that an error stays with its
  // target.
  void WriteGroup(const Group& group) {
    std::string names;
    for (const GgufWork* work : group) {
      absl::StrAppend(&names, names.empty() ? "" : ", ",
                      work->row->target->name);
    }
    options_.Log(absl::StrCat(model_.name, ": ", names));
    if (options_.provenance) {
      // Begins to hash the model; an error comes again with the manifest.
      work_.RecorderOf(*group.front()->row->target).status().IgnoreError();
    }
    const absl::Status together = WriteTogether(group);
    for (const GgufWork* work : group) {
      absl::Status status = together;
      if (!status.ok() && group.size() > 1 && !options_.is_cancelled()) {
        status = WriteTogether({work});
      }
      work->row->status = status.ok() ? work_.Recorded(work->row) : status;
    }
  }

  absl::Status WriteTogether(const Group& group) {
    ASSIGN_OR_RETURN(const Checkpoint* checkpoint, work_.checkpoint());
    std::vector<Output> outputs;
    for (const GgufWork* work : group) {
      outputs.push_back({work->planned.plan.get(), work->row->target->output});
    }
    const PlannedTarget& first = *group.front()->row->target;
    if (!first.solver.empty()) {
      SolveTargetsRequest request;
      request.model = checkpoint;
      request.model_hash = work_.identity().Hex();
      request.words = first.solver;
      request.outputs = outputs;
      request.cache = CachePath(out_);
      return options_.solve ? options_.solve(request)
                            : absl::UnimplementedError("no solver is here");
    }
    PipelineOptions pipeline;
    pipeline.n_threads = options_.n_threads;
    pipeline.memory_bytes = options_.memory_bytes;
    pipeline.device = options_.device;
    pipeline.on_device_note = options_.on_device_note;
    pipeline.on_progress = options_.on_written;
    pipeline.cancelled = options_.cancelled;
    return WriteOutputs(*checkpoint, outputs, pipeline);
  }

  absl::Status WritePacked(TargetOutcome* row) {
    ASSIGN_OR_RETURN(const ModelInput* input, work_.input());
    const PlannedTarget& target = *row->target;
    ASSIGN_OR_RETURN(const QuantizePlan plan,
                     PlanQuantize(*input, target.quantize, {}));
    std::optional<ImportanceMatrix> importance;
    if (target.quantize.has_imatrix()) {
      ASSIGN_OR_RETURN(importance, ReadImportance(target.quantize.imatrix()));
    }
    RunOptions run;
    run.out = target.output;
    run.n_threads = options_.n_threads;
    run.device = options_.device;
    run.on_device_note = options_.on_device_note;
    run.importance = importance.has_value() ? &*importance : nullptr;
    run.on_written = options_.on_written;
    run.cancelled = options_.cancelled;
    run.model_card = [&](const std::string&, const QuantizeResult& result) {
      return Card(*input, plan, result, target);
    };
    if (options_.provenance) {
      ASSIGN_OR_RETURN(ProvenanceRecorder * recorder, work_.RecorderOf(target));
      run.before_finish = [&, recorder](const std::string& partial) {
        return recorder->WriteInto(partial, target.output, {});
      };
    }
    absl::Status made = RunQuantize(*input, plan, run).status();
    if (GoesAwayWithRestart(made)) {
      run.restart = true;
      made = RunQuantize(*input, plan, run).status();
    }
    RETURN_IF_ERROR(made);
    return work_.Recorded(row);
  }

  absl::StatusOr<std::string> Card(const ModelInput& input,
                                   const QuantizePlan& plan,
                                   const QuantizeResult& result,
                                   const PlannedTarget& target) const {
    QuantizeCardInputs card{
        &input,  &plan,
        &result, absl::StrCat("narrow batch  # ", target.name),
        "",      std::nullopt};
    const std::string readme = JoinPath(input.folder, "README.md");
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
    options_.Log(absl::StrCat(model_.name, ": validating ", row->target->name));
    auto validation = options_.validate(model_.path, *row->target,
                                        *model_.validation, CachePath(out_));
    RETURN_IF_ERROR(Annotate(validation.status(), "validating"));
    validation->set_key(key);
    *row->record.mutable_validation() = *std::move(validation);
    RETURN_IF_ERROR(WriteRecord(work_.RecordOf(*row), row->record));
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
  ModelWork work_;
  ModelOutcome outcome_;
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
    if (options.is_cancelled()) {
      outcome.cancelled = true;
      return outcome;
    }
  }
  std::error_code ignored;
  fs::remove_all(DiscardedPath(plan.out), ignored);
  if (all_ok) {  // what candidates of an original share is not needed more
    fs::remove_all(CachePath(plan.out), ignored);
  }
  return outcome;
}

}  // namespace narrow
