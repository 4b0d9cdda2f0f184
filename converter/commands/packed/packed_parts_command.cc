#include "converter/commands/packed/packed_parts_command.h"

#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/importance/importance.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/progress.h"
#include "converter/provenance/manifest.pb.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/report/quantize_card.h"
#include "converter/version.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

constexpr int64_t kMaxReadmeBytes = 64 << 20;

int64_t BytesOf(const QuantizePlan& plan, const std::vector<int>& layers) {
  int64_t n_bytes = 0;
  for (const int layer : layers) {
    n_bytes += plan.layers[static_cast<size_t>(layer)].n_bytes;
  }
  return n_bytes;
}

std::string PartJson(const PackedPartJob& job, size_t n_layers,
                     int64_t file_bytes) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("part").Integer(job.request.shard.index);
  json.Key("parts").Integer(job.request.shard.count);
  json.Key("layers").Integer(static_cast<int64_t>(n_layers));
  json.Key("path").String(job.out);
  json.Key("file_bytes").Integer(file_bytes);
  json.Key("dry_run").Bool(job.dry_run);
  json.EndObject();
  return json.text();
}

// That of the run whose parts they are, of the model as it is now.
absl::StatusOr<ProvenanceRequest> ProvenanceOfParts(const PackedParts& parts,
                                                    const std::string& model,
                                                    const PackedMergeJob& job) {
  ProvenanceRequest request;
  request.on = job.manifest;
  request.n_threads = job.n_threads;
  request.n_parts = parts.n_parts();
  request.models.emplace_back("original", model);
  provenance::Manifest made;
  if (!made.ParseFromString(parts.first().provenance())) {
    return absl::DataLossError(
        "the provenance of part 1 does not parse; make it again");
  }
  request.command = made.command();
  request.arguments.assign(made.arguments().begin(), made.arguments().end());
  for (const provenance::Setting& setting : made.recipe()) {
    request.recipe.emplace_back(setting.name(), setting.value());
  }
  request.used.assign(made.used().begin(), made.used().end());
  return request;
}

}  // namespace

absl::Status RunPackedPart(const ModelInput& input, const QuantizePlan& plan,
                           PackedPartJob job) {
  RETURN_IF_ERROR(CheckJsonPath(job.json));
  PackedPartRequest& request = job.request;
  ASSIGN_OR_RETURN(request.shard, ParseShard(job.shard));
  request.version = kNarrowVersion;
  request.cancelled = CatchSignals();
  if (job.provenance.on && request.shard.index == 1 && !job.dry_run) {
    ASSIGN_OR_RETURN(request.provenance, ProvenanceForParts(job.provenance));
  }
  std::optional<ImportanceMatrix> importance;
  if (!plan.recipe.imatrix().empty()) {
    ASSIGN_OR_RETURN(importance, ReadImportance(plan.recipe.imatrix()));
    request.importance = &*importance;
  }
  const std::vector<int> layers = PackedLayersOf(plan, request.shard);
  int64_t file_bytes = 0;
  if (!job.dry_run) {
    Progress progress("quantizing", "B", BytesOf(plan, layers), job.quiet);
    request.on_written = [&progress](int64_t n) { progress.Add(n); };
    ASSIGN_OR_RETURN(file_bytes,
                     WritePackedPart(input, plan, request, job.out));
  }
  if (!job.quiet && job.json != "-") {
    absl::PrintF("%s %s: part %d of %d, %d of %d layers, %s\n",
                 job.dry_run ? "would write" : "wrote", OneLine(job.out),
                 request.shard.index, request.shard.count, layers.size(),
                 plan.layers.size(), FormatBytes(BytesOf(plan, layers)));
  }
  return WriteJson(job.json, PartJson(job, layers.size(), file_bytes));
}

absl::Status MergePackedParts(const PackedMergeJob& job) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(job.json));
  ASSIGN_OR_RETURN(PackedParts parts, PackedParts::Open(job.parts));
  const parts::Packed& packed = parts.packed();
  const std::string model = job.model.empty() ? packed.model() : job.model;
  if (parts.first().version() != kNarrowVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the parts were made by version ", OneLine(parts.first().version()),
        ", this is ", kNarrowVersion, "; merge with that version"));
  }
  ModelInputOptions opening;
  opening.decode_quantized = packed.decode_quantized();
  ASSIGN_OR_RETURN(const auto input, OpenModelInput(model, opening));
  ASSIGN_OR_RETURN(const QuantizeRecipe recipe,
                   ParseRecipe(packed.recipe(), "the parts' recipe"));
  RunOptions run;
  run.plan.max_shard_bytes = packed.max_shard_bytes();
  ASSIGN_OR_RETURN(const QuantizePlan plan,
                   PlanQuantize(*input, recipe, run.plan));
  RETURN_IF_ERROR(parts.Cover(model, plan, job.n_threads));
  ASSIGN_OR_RETURN(ProvenanceRequest provenance,
                   ProvenanceOfParts(parts, model, job));
  const auto recorder = ProvenanceRecorder::Begin(std::move(provenance));
  Progress progress("merging", "B", plan.tensor_bytes, job.quiet);
  run.out = job.out;
  run.input = opening;
  run.n_threads = job.n_threads;
  run.cancelled = CatchSignals();
  run.on_written = [&progress](int64_t n) { progress.Add(n); };
  run.solved = [&](int layer) { return parts.Layer(plan, layer); };
  run.model_card =
      [&](const std::string&,
          const QuantizeResult& result) -> absl::StatusOr<std::string> {
    QuantizeCardInputs card{input.get(),      &plan, &result,
                            packed.command(), "",    std::nullopt};
    const std::string readme = JoinPath(input->folder, "README.md");
    if (FileExists(readme)) {
      ASSIGN_OR_RETURN(card.original_readme,
                       ReadTextFile(readme, kMaxReadmeBytes));
    }
    return QuantizeCard(card);
  };
  run.before_finish = [&](const std::string& folder) {
    return recorder->WriteInto(folder, job.out, {});
  };
  RETURN_IF_ERROR(RunQuantize(*input, plan, run).status());
  progress.Finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!job.quiet && job.json != "-") {
    absl::PrintF("wrote %s: %s of tensors, %d layers of %d parts\nin %s\n",
                 OneLine(job.out), FormatBytes(plan.tensor_bytes),
                 plan.layers.size(), parts.n_parts(), FormatDuration(seconds));
  }
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("parts").Integer(parts.n_parts());
  json.Key("version").String(parts.first().version());
  json.Key("layers").Integer(static_cast<int64_t>(plan.layers.size()));
  json.Key("path").String(job.out);
  json.Key("tensor_bytes").Integer(plan.tensor_bytes);
  json.Key("seconds").Number(seconds);
  json.EndObject();
  return WriteJson(job.json, json.text());
}

}  // namespace narrow
