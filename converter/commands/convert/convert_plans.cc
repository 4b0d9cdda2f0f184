#include "converter/commands/convert/convert_plans.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/gguf/output_paths.h"
#include "converter/parts/shard_plan.h"
#include "converter/progress.h"
#include "converter/version.h"
#include "formats/base/status.h"

namespace narrow {

void AddPlanFlags(CLI::App* command, PlanFlags* flags) {
  CLI::Option* shards =
      command
          ->add_option("--shards", flags->n_shards,
                       "with --write-plans: the number of parts")
          ->type_name("N")
          ->check(CLI::Range(int64_t{1}, kMaxShards));
  command
      ->add_option("--write-plans", flags->folder,
                   "write no output but what each of --shards N parts has to "
                   "do, head.plan and part-….plan; a file's bytes change only "
                   "if those of its part do")
      ->type_name("FOLDER")
      ->needs(shards);
  shards->needs(command->get_option("--write-plans"));
  command
      ->add_option("--plan", flags->plan,
                   "do the part that this file of --write-plans describes; "
                   "its types are chosen already, so give --imatrix and --out "
                   "alone. narrow merge takes head.plan and the parts")
      ->type_name("PLAN");
}

absl::Status CheckPlanFlags(const PlanFlags& flags, size_t n_types, bool solved,
                            bool part) {
  if (flags.folder.empty()) {
    return absl::OkStatus();
  }
  if (n_types > 1 || part) {
    return absl::InvalidArgumentError(
        "--write-plans is for one file type, and all parts of it; leave "
        "--shard out");
  }
  if (solved) {
    return absl::InvalidArgumentError(
        "--write-plans: what a solver does is in no plan; make its parts with "
        "--shard K/N");
  }
  return absl::OkStatus();
}

absl::Status CheckPlannedOptions(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    const bool fits =
        option->get_positional() || option->count() == 0 ||
        option->check_name("--plan") || option->check_name("--imatrix") ||
        option->check_name("--out") || option->check_name("--threads") ||
        option->check_name("--device") || option->check_name("--quiet") ||
        option->check_name("--no-manifest");
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, " goes to --write-plans; with --plan it is decided"));
    }
  }
  return command.count("--out") > 0
             ? absl::OkStatus()
             : absl::InvalidArgumentError("--plan needs --out PART");
}

absl::Status WriteThePlans(const Checkpoint& model, const Plan& plan,
                           const PlanFlags& flags,
                           const ImportanceFlags& importance,
                           const CheckpointOptions& checkpoint,
                           const ProvenanceRequest& provenance, bool quiet) {
  PartRequest request;
  request.shard = {1, flags.n_shards};
  request.version = kNarrowVersion;
  if (provenance.on) {
    ASSIGN_OR_RETURN(request.provenance, ProvenanceForParts(provenance));
  }
  parts::Opening opening;
  opening.set_intermediate(checkpoint.intermediate);
  opening.set_pre_tokenizer(checkpoint.pre_tokenizer);
  opening.set_decode_quantized(checkpoint.decode_quantized);
  for (const std::string& name : importance.include) {
    opening.add_include_weights(name);
  }
  for (const std::string& name : importance.exclude) {
    opening.add_exclude_weights(name);
  }
  opening.set_imatrix_missing(importance.missing);
  RETURN_IF_ERROR(WritePlans(model, plan, request, opening, flags.folder));
  if (!quiet) {
    absl::PrintF("wrote the plans of %d parts to %s\n", flags.n_shards,
                 flags.folder);
  }
  return absl::OkStatus();
}

absl::Status WritePlannedShard(const std::string& model_path,
                               const std::string& plan,
                               const std::string& imatrix,
                               const std::string& out, int n_threads,
                               const std::string& device, bool quiet) {
  for (const std::string& input : {model_path, plan, imatrix}) {
    if (!input.empty()) {
      RETURN_IF_ERROR(CheckOutputFile(out, input, ""));
    }
  }
  ASSIGN_OR_RETURN(const ShardPlan shard, ReadShardPlan(plan));
  const parts::Opening& opening = shard.description.opening();
  CheckpointOptions options;
  options.intermediate = opening.intermediate();
  options.pre_tokenizer = opening.pre_tokenizer();
  options.decode_quantized = opening.decode_quantized();
  options.skip_tokenizer = true;  // the head has the keys
  ASSIGN_OR_RETURN(const auto model, Checkpoint::Open(model_path, options));
  RETURN_IF_ERROR(CheckInputIsKept(*model, out));
  std::optional<ImportanceMatrix> importance;
  if (shard.needs_importance) {
    ImportanceFlags flags;
    flags.path = imatrix;
    flags.include.assign(opening.include_weights().begin(),
                         opening.include_weights().end());
    flags.exclude.assign(opening.exclude_weights().begin(),
                         opening.exclude_weights().end());
    flags.missing = opening.imatrix_missing();
    ASSIGN_OR_RETURN(importance, ReadImportanceAsked(flags));
  }
  int64_t n_bytes = 0;
  for (const parts::PlannedRows& row : shard.description.planned()) {
    const CheckpointTensor* source = model->Find(row.source());
    n_bytes +=
        source == nullptr ? 0 : row.rows().n_rows() * source->meta.row_bytes();
  }
  Progress progress("converting", "B", n_bytes, quiet);
  PipelineOptions pipeline;
  pipeline.n_threads = n_threads;
  ASSIGN_OR_RETURN(pipeline.device, OpenDeviceAsked(device));
  pipeline.on_device_note = PrintDeviceNote;
  pipeline.cancelled = CatchSignals();
  pipeline.on_progress = [&progress](int64_t n) { progress.Add(n); };
  ASSIGN_OR_RETURN(
      const int64_t file_bytes,
      WritePlannedPart(*model, shard,
                       importance.has_value() ? &*importance : nullptr,
                       kNarrowVersion, out, pipeline));
  progress.Finish();
  if (!quiet) {
    absl::PrintF("wrote %s: part %d of %d, %d bytes (%s)\n", out,
                 shard.description.index(), shard.description.count(),
                 file_bytes, FormatBytes(file_bytes));
  }
  return absl::OkStatus();
}

}  // namespace narrow
