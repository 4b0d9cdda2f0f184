#include "converter/batch/model_work.h"

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/batch/target/target_manifest.h"
#include "converter/batch/target/target_record.h"
#include "converter/fallbacks.h"
#include "converter/gguf/output_paths.h"
#include "converter/provenance/manifest.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

// So many shares that one of them reads next to nothing: the identity of a
// model is its settings, its tensors' names, and the ends of their bytes.
constexpr int64_t kShares = int64_t{1} << 40;

}  // namespace

std::string DiscardedPath(const std::string& out) {
  return JoinPath(RecordFolder(out), "discarded");
}

absl::Status ModelWork::Begin() {
  ASSIGN_OR_RETURN(const auto share,
                   DigestModelShare(model_.path, 0, kShares, options_.n_threads,
                                    options_.cancelled));
  identity_ = share.identity;
  return absl::OkStatus();
}

std::string ModelWork::RecordOf(const TargetOutcome& row) const {
  return RecordPath(out_, row.target->output);
}

// A folder is moved away before it is taken apart, so that its name never
// stands for a part of it.
absl::Status ModelWork::Remove(const std::string& path) const {
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

absl::Status ModelWork::Look(TargetOutcome* row) {
  const PlannedTarget& target = *row->target;
  ASSIGN_OR_RETURN(const std::string key, TargetKey(target, identity_));
  row->record = ReadRecord(RecordOf(*row));
  const bool is_there = FileExists(target.output) || IsDirectory(target.output);
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
      options_.Log(
          absl::StrCat(model_.name, ": ", target.name, ": there already"));
      return EnsureManifest(*row);
    }
    options_.Log(absl::StrCat(model_.name, ": ", target.name,
                              ": done again, since ", whole.message()));
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
  return BeginRecord(key, row);
}

absl::Status ModelWork::BeginRecord(const std::string& key,
                                    TargetOutcome* row) const {
  RemoveManifest(ManifestPath(row->target->output));  // of what it was
  row->record.Clear();
  row->record.set_key(key);
  return WriteRecord(RecordOf(*row), row->record);
}

absl::Status ModelWork::Recorded(TargetOutcome* row) {
  RETURN_IF_ERROR(RecordFiles(out_, row->target->output, &row->record));
  RETURN_IF_ERROR(Measure(row));
  RETURN_IF_ERROR(EnsureManifest(*row));
  row->record.set_done(true);
  RETURN_IF_ERROR(WriteRecord(RecordOf(*row), row->record));
  // What a solver that was stopped had kept, if it had it for several.
  std::error_code ignored;
  fs::remove_all(absl::StrCat(row->target->output, ".solved.partial"), ignored);
  return absl::OkStatus();
}

absl::StatusOr<ProvenanceRecorder*> ModelWork::RecorderOf(
    const PlannedTarget& target) {
  const std::string recipe_path = RecipePath(out_, target.output);
  const TargetCommand command =
      CommandOfTarget(model_.path, target, recipe_path);
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
absl::Status ModelWork::EnsureManifest(const TargetOutcome& row) {
  const std::string& output = row.target->output;
  if (!options_.provenance || HasManifest(out_, output, row.record)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ProvenanceRecorder * recorder, RecorderOf(*row.target));
  return recorder->WriteBeside(output, {});
}

// Bytes of tensors and numbers of weights, as the plan has them.
absl::Status ModelWork::Measure(TargetOutcome* row) {
  if (row->target->is_gguf) {
    ASSIGN_OR_RETURN(const PlannedGguf planned, PlanGguf(*row->target));
    row->record.set_tensor_bytes(planned.plan->tensor_bytes);
    row->record.set_n_weights(planned.plan->n_weights);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ModelInput* opened, input());
  ASSIGN_OR_RETURN(const QuantizePlan plan,
                   PlanQuantize(*opened, row->target->quantize, {}));
  row->record.set_tensor_bytes(plan.tensor_bytes);
  row->record.set_n_weights(plan.n_weights);
  return absl::OkStatus();
}

absl::StatusOr<const Checkpoint*> ModelWork::checkpoint() {
  if (checkpoint_ == nullptr) {
    ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(model_.path, {}));
  }
  return checkpoint_.get();
}

absl::StatusOr<const ModelInput*> ModelWork::input() {
  if (input_ == nullptr) {
    ASSIGN_OR_RETURN(input_, OpenModelInput(model_.path, {}));
  }
  return input_.get();
}

absl::StatusOr<PlannedGguf> ModelWork::PlanGguf(const PlannedTarget& target) {
  ASSIGN_OR_RETURN(const Checkpoint* opened, checkpoint());
  PlannedGguf planned;
  if (!target.imatrix.empty()) {
    ASSIGN_OR_RETURN(ImportanceMatrix matrix, ReadImportance(target.imatrix));
    planned.importance = std::make_unique<ImportanceMatrix>(std::move(matrix));
  }
  ASSIGN_OR_RETURN(Plan plan,
                   MakePlan(*opened, target.recipe, planned.importance.get()));
  if (target.recipe.mode == Mode::kStrict) {
    const std::vector<std::string> problems = StrictProblems(plan);
    if (!problems.empty()) {
      return Annotate(StrictError(plan, problems.size()), problems.front());
    }
  }
  RETURN_IF_ERROR(CheckInputIsKept(*opened, target.output));
  planned.plan = std::make_unique<Plan>(std::move(plan));
  return planned;
}

}  // namespace narrow
