#include "converter/commands/convert/convert_part.h"

#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/gguf/output_paths.h"
#include "converter/progress.h"
#include "converter/version.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

// All that a solved tensor depends on but the model, the samples and the type.
std::string SettingsText(const SolverRequest& solver) {
  const CompensatedOptions& o = solver.options;
  return absl::StrFormat(
      "compensated one-shot fisher=%d couple=%d rounds=%d refit=%d sweep=%d "
      "orders=%d damping=%a",
      solver.fisher, solver.max_coupled_outputs, o.rounds, o.refit, o.sweep,
      o.n_orders, o.damping);
}

// The plan of the tensors that the part has.
Plan OnlyOfPart(const Plan& plan, const PartRequest& request) {
  Plan part = plan;
  part.tensors.clear();
  for (const RowRange& range : RangesOf(plan, request)) {
    part.tensors.push_back(plan.tensors[range.tensor]);
  }
  return part;
}

}  // namespace

absl::StatusOr<PartJob> PartFromFlag(const std::string& flag,
                                     const std::vector<Recipe>& recipes,
                                     const SolverRequest& solver,
                                     bool allocating) {
  PartJob job;
  if (flag.empty()) {
    return job;
  }
  job.on = true;
  ASSIGN_OR_RETURN(job.request.shard, ParseShard(flag));
  job.request.version = kNarrowVersion;
  if (allocating) {
    return absl::InvalidArgumentError(
        "--shard: types for a target size are chosen on the whole model; "
        "choose them once (--dry-run --write-recipe types.txt) and give every "
        "part --tensor-type-file types.txt");
  }
  if (recipes.size() > 1) {
    return absl::InvalidArgumentError(
        "--shard: a part is of one file type; give --to one of them at a "
        "time");
  }
  if (solver.on && !solver.one_shot) {
    return absl::InvalidArgumentError(
        "--shard: with --order sequential every block depends on those "
        "before it; parts can be solved with --order one-shot");
  }
  if (solver.verify_windows > 0) {
    return absl::InvalidArgumentError(
        "--shard: --verify-kld judges whole blocks, of which a part may have "
        "some tensors only");
  }
  if (solver.on) {
    job.request.whole_tensors = true;
    job.request.solver = SettingsText(solver);
    job.request.recipe.emplace_back("solver", job.request.solver);
  }
  job.request.recipe.emplace_back("file type", RecipeName(recipes.front()));
  return job;
}

std::string PartPath(const std::string& model, const std::string& out,
                     const std::string& name, const Shard& shard) {
  const std::string whole = OutputPath(model, out, name, false);
  if (whole == out) {
    return out;
  }
  return absl::StrFormat("%s.part-%05d-of-%05d",
                         absl::StripSuffix(whole, ".gguf"), shard.index,
                         shard.count);
}

absl::StatusOr<int64_t> WriteOnePart(const Checkpoint& model, const Plan& plan,
                                     const std::string& path,
                                     const PartJob& job) {
  int64_t n_bytes = 0;
  const std::vector<TensorMeta> sources = SourceMetas(plan);
  for (const RowRange& range : RangesOf(plan, job.request)) {
    n_bytes += range.n_rows * sources[range.tensor].row_bytes();
  }
  Progress progress("converting", "B", n_bytes, job.quiet);
  PipelineOptions options;
  options.n_threads = job.n_threads;
  options.device = job.device;
  options.on_device_note = PrintDeviceNote;
  options.cancelled = job.cancelled;
  options.on_progress = [&progress](int64_t n) { progress.Add(n); };
  return WritePart(model, plan, job.request, path, options);
}

absl::StatusOr<int64_t> WriteSolvedPart(
    const Checkpoint& model, const SolverText& text, const Plan& plan,
    const std::string& path, const PartJob& job, const SolvedJob& solved) {
  PartJob full = job;
  absl::StrAppendFormat(&full.request.solver, " samples=%016x",
                        text.samples.hash);
  const Plan part = OnlyOfPart(plan, job.request);
  int64_t file_bytes = 0;
  const auto write = [&](absl::Span<const Output> outputs) -> absl::Status {
    std::unordered_map<std::string, const EncodedRows*> rows;
    for (const PlannedTensor& tensor : outputs.front().plan->tensors) {
      rows[tensor.meta.name] = tensor.encoded;
    }
    Plan encoded = plan;
    for (PlannedTensor& tensor : encoded.tensors) {
      const auto found = rows.find(tensor.meta.name);
      tensor.encoded = found == rows.end() ? nullptr : found->second;
    }
    ASSIGN_OR_RETURN(file_bytes, WriteOnePart(model, encoded, path, full));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      WriteSolved(model, text, {{&part, path}}, solved, write).status());
  return file_bytes;
}

std::string PartSummary(const Plan& plan, const std::string& path,
                        const PartJob& job, int64_t file_bytes, bool dry_run) {
  const Shard& shard = job.request.shard;
  const int64_t n_bytes = PartBytes(plan, job.request);
  if (dry_run) {
    return absl::StrFormat(
        "would write %s: part %d of %d, %d bytes of rows (%s)\n", path,
        shard.index, shard.count, n_bytes, FormatBytes(n_bytes));
  }
  return absl::StrFormat(
      "wrote %s: part %d of %d, %d bytes (%s); narrow merge puts the parts "
      "together\n",
      path, shard.index, shard.count, file_bytes, FormatBytes(file_bytes));
}

std::string PartJson(const Plan& plan, const std::string& path,
                     const PartJob& job, int64_t file_bytes, double seconds,
                     bool dry_run) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("path").String(path);
  json.Key("dry_run").Bool(dry_run);
  json.Key("part").Integer(job.request.shard.index);
  json.Key("parts").Integer(job.request.shard.count);
  json.Key("file_type").String(RecipeName(plan.recipe));
  json.Key("row_bytes").Integer(PartBytes(plan, job.request));
  if (!dry_run) {
    json.Key("file_bytes").Integer(file_bytes);
  }
  json.Key("seconds").Number(seconds);
  json.EndObject();
  return json.text();
}

}  // namespace narrow
