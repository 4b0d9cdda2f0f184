#include "converter/commands/convert/convert_allocated.h"

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/text/fresh_windows.h"
#include "converter/allocation/measure_divergence.h"
#include "converter/allocation/probe.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/gguf/output_paths.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/progress.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// What the sum of the losses is multiplied by for the divergence of the whole
// file where it was not measured yet. What errors of different tensors have to
// do with each other adds to the sum, what a solver corrects of earlier blocks'
// takes from it: measured, 1.09 plain, 1.12 one-shot and 0.99 sequentially.
constexpr double kFactor = 1;

// Windows that a file is judged on.
constexpr int64_t kJudgeWindows = 16;

std::string WayOf(const SolverRequest& solver) {
  return !solver.on ? "plain" : solver.one_shot ? "one-shot" : "sequential";
}

double FactorOf(const LossTable& table, const std::string& way) {
  const auto known = table.factors.find(way);
  return known != table.factors.end() ? known->second : kFactor;
}

std::string ProbePath(const AllocationJob& job, const Checkpoint& model,
                      const std::string& output) {
  if (!job.probe_path.empty()) {
    return job.probe_path;
  }
  const size_t slash = output.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : output.substr(0, slash + 1);
  std::string path = OutputPath(model.path(), folder, "probe", true);
  const size_t dot = path.rfind(".gguf");
  return absl::StrCat(path.substr(0, dot), ".json");
}

absl::StatusOr<LossTable> Losses(const Checkpoint& model,
                                 const Candidates& candidates,
                                 const SolverRequest& solver,
                                 const CalibrationSamples& samples,
                                 const std::string& path,
                                 const AllocationRun& run,
                                 std::optional<FisherWeights>* fisher) {
  ProbeOptions options;
  options.solver = solver.on;
  options.solver_options = solver.options;
  options.max_moment_outputs = solver.max_coupled_outputs;
  options.n_threads = run.n_threads;
  options.hidden_bytes = solver.hidden_bytes;
  options.cancelled = run.cancelled;
  options.device = run.device;
  options.on_device_note = PrintDeviceNote;
  constexpr int64_t kWhole = 1000;
  auto bar = std::make_unique<Progress>("measuring losses", "/1000", kWhole,
                                        run.quiet);
  options.on_progress = [&bar](double share) {
    bar->Set(static_cast<int64_t>(share * kWhole));
  };
  ASSIGN_OR_RETURN(
      const uint64_t print,
      ProbeFingerprint(model, samples, candidates.tensors, options));
  auto known = ReadLossTable(path, print);
  if (known.ok()) {
    return known;
  }
  if (absl::IsDataLoss(known.status())) {
    return Annotate(known.status(),
                    "give another file with --probe, or remove this one");
  }
  fisher->emplace();
  ASSIGN_OR_RETURN(LossTable table,
                   ProbeLosses(model, samples, candidates.tensors, options,
                               &fisher->value()));
  if (!solver.fisher) {
    fisher->reset();  // its memory
  }
  bar->Finish();
  table.fingerprint = print;
  RETURN_IF_ERROR(WriteLossTable(table, path));
  return table;
}

// Writes a file of the types chosen so far, measures it, and removes it.
absl::Status JudgeTrial(const Checkpoint& model,
                        const ImportanceMatrix* importance,
                        const SolverRequest& solver,
                        const CalibrationSamples& samples,
                        const std::string& path, const AllocationRun& run,
                        Chosen* chosen) {
  Recipe recipe = chosen->allocation.recipe;
  recipe.split.reset();
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(model, recipe, importance));
  PipelineOptions options;
  options.n_threads = run.n_threads;
  options.cancelled = run.cancelled;
  const std::vector<Output> outputs = {{&plan, path}};
  RETURN_IF_ERROR(WriteOutputs(model, outputs, options));
  const absl::Status judged =
      JudgeChoice(model, path, solver, samples, run, chosen);
  std::remove(path.c_str());
  chosen->measured.reset();  // it was of the trial
  return judged;
}

const char* TargetName(AllocationTarget target) {
  switch (target) {
    case AllocationTarget::kFileBytes:
      return "size";
    case AllocationTarget::kBitsPerWeight:
      return "bpw";
    case AllocationTarget::kDivergence:
      break;
  }
  return "kld";
}

}  // namespace

absl::StatusOr<Chosen> ChooseTypes(
    const Checkpoint& model, const Recipe& recipe,
    const ImportanceMatrix* importance, const AllocationJob& job,
    const SolverRequest& solver, const CalibrationSamples& samples,
    const std::string& output, const AllocationRun& run) {
  ASSIGN_OR_RETURN(const Candidates candidates,
                   FindCandidates(model, recipe, importance, job.types));
  Chosen chosen;
  chosen.probe_path = ProbePath(job, model, output);
  chosen.way = WayOf(solver);
  ASSIGN_OR_RETURN(chosen.table,
                   Losses(model, candidates, solver, samples, chosen.probe_path,
                          run, &chosen.fisher));
  const auto allocate = [&]() -> absl::Status {
    AllocationRequest request = job.request;
    request.factor = FactorOf(chosen.table, chosen.way);
    ASSIGN_OR_RETURN(
        chosen.allocation,
        Allocate(model, recipe, importance, candidates, chosen.table, request));
    chosen.loss_sum = chosen.allocation.divergence / request.factor;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(allocate());
  // Sizes do not depend on the factor; without a solver a trial costs little.
  if (job.request.target == AllocationTarget::kDivergence && !solver.on &&
      chosen.table.factors.count(chosen.way) == 0) {
    RETURN_IF_ERROR(JudgeTrial(model, importance, solver, samples,
                               absl::StrCat(output, ".trial"), run, &chosen));
    RETURN_IF_ERROR(allocate());
  }
  if (!job.recipe_path.empty()) {
    RETURN_IF_ERROR(
        WriteTextFile(job.recipe_path, RecipeText(chosen.allocation.tensors)));
  }
  return chosen;
}

absl::Status JudgeChoice(const Checkpoint& model, const std::string& file,
                         const SolverRequest& solver,
                         const CalibrationSamples& samples,
                         const AllocationRun& run, Chosen* chosen) {
  ASSIGN_OR_RETURN(const CalibrationSamples judge,
                   SampleFreshTexts(model, solver.texts, solver.samples,
                                    samples, kJudgeWindows));
  if (judge.n_samples() == 0) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto written, Checkpoint::Open(file, {}));
  ASSIGN_OR_RETURN(chosen->measured,
                   MeasureDivergence(model, *written, judge, run.n_threads));
  chosen->n_windows = judge.n_samples();
  if (*chosen->measured > 0 && chosen->loss_sum > 0 &&
      chosen->table.factors.count(chosen->way) == 0) {
    chosen->table.factors[chosen->way] = *chosen->measured / chosen->loss_sum;
    return WriteLossTable(chosen->table, chosen->probe_path);
  }
  return absl::OkStatus();
}

std::string AllocationText(const Chosen& chosen, const AllocationJob& job) {
  const Allocation& allocation = chosen.allocation;
  std::string text = absl::StrFormat(
      "types for a KL divergence of %.4g predicted, %.4f bits per weight, %d "
      "bytes%s:\n",
      allocation.divergence, allocation.bits_per_weight, allocation.file_bytes,
      allocation.gap > 0
          ? absl::StrFormat(" (the best is at most %.2g %% better)",
                            100 * allocation.gap)
          : "");
  absl::StrAppend(&text, RecipeText(allocation.tensors));
  for (const AllocatedTensor& tensor : allocation.tensors) {
    if (!tensor.probed) {
      absl::StrAppend(&text, "not measured, as no input of it was seen: ",
                      OneLine(tensor.name), " (", TypeName(tensor.type), ")\n");
    }
  }
  if (!job.recipe_path.empty()) {
    absl::StrAppend(&text, "again: --to ",
                    Info(allocation.recipe.file_type).name,
                    " --tensor-type-file ", job.recipe_path, "\n");
  }
  if (chosen.measured.has_value()) {
    absl::StrAppend(
        &text, absl::StrFormat(
                   "KL divergence measured on the second half of %d windows "
                   "not calibrated on: %.4g\n",
                   chosen.n_windows, *chosen.measured));
    if (job.request.target == AllocationTarget::kDivergence &&
        *chosen.measured > 1.05 * job.request.value) {
      absl::StrAppend(&text,
                      "the same command now chooses by what was measured\n");
    }
  }
  return text;
}

void AllocationJson(const Chosen& chosen, const AllocationJob& job,
                    JsonWriter* json) {
  const Allocation& allocation = chosen.allocation;
  json->Key("allocation").BeginObject();
  json->Key("target").String(TargetName(job.request.target));
  json->Key("value").Number(job.request.value);
  json->Key("predicted_kld").Number(allocation.divergence);
  json->Key("measured_kld");
  if (chosen.measured.has_value()) {
    json->Number(*chosen.measured);
  } else {
    json->Null();
  }
  json->Key("gap").Number(allocation.gap);
  json->Key("tensors").BeginArray();
  for (const AllocatedTensor& tensor : allocation.tensors) {
    json->BeginObject();
    json->Key("name").String(tensor.name);
    json->Key("type").String(TypeName(tensor.type));
    json->Key("bytes").Integer(tensor.n_bytes);
    json->Key("kld");
    if (tensor.probed) {
      json->Number(tensor.loss);
    } else {
      json->Null();
    }
    json->Key("probed").Bool(tensor.probed);
    json->EndObject();
  }
  json->EndArray().EndObject();
}

}  // namespace narrow
