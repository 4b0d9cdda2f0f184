// narrow quantize: a safetensors model made small, by GPTQ, AWQ, HQQ and the
// other methods, in the formats that other programs load.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "calibration/importance/importance.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/flags/recipe/quantize_flags.h"
#include "converter/commands/packed/packed_parts_command.h"
#include "converter/commands/signals.h"
#include "converter/progress.h"
#include "converter/provenance/recorder.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/report/quantize_card.h"
#include "converter/quantize/report/quantize_report.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/perplexity/perplexity.h"

namespace narrow {
namespace {

constexpr char kExamples[] =
    R"(Methods and where they are stored unless --format says otherwise:
  gptq (default)  gptq               needs --calibration
  awq             awq                needs --calibration
  smoothquant     compressed-tensors needs --calibration
  rtn, fp8, nvfp4, mxfp4             compressed-tensors
  hqq             hqq
  nf4, fp4, int8  bitsandbytes

A run with calibration that is stopped goes on after the last finished block
when the same command is given again.

Examples:
  narrow quantize gemma-3-270m -o gemma-gptq --calibration wiki.valid.tokens
  narrow quantize gemma-3-270m -o gemma-awq --method awq -c chat.jsonl
  narrow quantize bert-base -o bert-nf4 --method nf4 --double-quant
  narrow quantize gemma-3-270m -o out --method rtn --bits 4 --group-size 64 \
      --override 'down_proj=bits:8' --ignore 'layers\.0\.' --dry-run
  narrow quantize gemma-3-270m --recipe recipe.txtpb -o out
  narrow quantize gemma-3-270m --method hqq --print-recipe
  narrow quantize gemma-3-270m --method hqq --shard 2/4 -o part-2)";

struct Flags {
  std::string model;
  std::string out;
  QuantizeFlags recipe;
  std::string lora;
  bool merge_only = false;
  bool decode_quantized = false;
  std::string max_shard_size = "5GB";
  std::string memory = "4GiB";
  bool dry_run = false;
  bool print_recipe = false;
  bool restart = false;
  bool verify = true;
  std::string measured_text;
  int64_t measured_chunks = -1;
  int n_threads = 0;
  std::string device;
  bool quiet = false;
  std::string json;
  bool manifest = true;
  std::string shard;    // K/N: a part of the output
  std::string command;  // as given, without folders, for the model card
};

// What all steps work on.
struct Job {
  const Flags* flags;
  QuantizeRecipe recipe;
  PlanOptions plan_options;
  int64_t hidden_bytes = 0;
  ProvenanceRequest provenance;
  std::optional<Device> device;
};

absl::StatusOr<Job> JobFromFlags(const CLI::App& command, const Flags& flags) {
  Job job;
  job.flags = &flags;
  ASSIGN_OR_RETURN(job.recipe, RecipeFromFlags(command, flags.recipe));
  ASSIGN_OR_RETURN(job.plan_options.max_shard_bytes,
                   ParseByteSize(flags.max_shard_size, "--max-shard-size"));
  ASSIGN_OR_RETURN(job.hidden_bytes, ParseByteSize(flags.memory, "--memory"));
  job.provenance = ProvenanceOf(command, flags.manifest, flags.n_threads);
  job.plan_options.merge_only = flags.merge_only;
  job.plan_options.recipe_only = flags.print_recipe;
  if (flags.merge_only && flags.lora.empty() && !flags.decode_quantized) {
    return absl::InvalidArgumentError(
        "--merge-only writes a model with an adapter merged; name one with "
        "--lora");
  }
  if (flags.out.empty() && !flags.dry_run && !flags.print_recipe) {
    return absl::InvalidArgumentError("--out names no directory to write");
  }
  if (!flags.shard.empty()) {
    RETURN_IF_ERROR(ParseShard(flags.shard).status());
    if (!flags.lora.empty() || !flags.measured_text.empty()) {
      return absl::InvalidArgumentError(
          "--shard: a part has some layers of the output; merge an adapter "
          "first (--merge-only), and measure the merged output with narrow "
          "validate");
    }
  }
  return job;
}

absl::StatusOr<std::optional<MeasuredLoss>> Measure(const Job& job,
                                                    const std::string& folder) {
  const Flags& flags = *job.flags;
  if (flags.measured_text.empty()) {
    return std::optional<MeasuredLoss>();
  }
  PerplexityOptions options;
  options.models = {flags.model, folder};
  options.texts = {flags.measured_text};
  options.windows.max_windows = flags.measured_chunks;
  options.checkpoint.intermediate = "exact";
  options.checkpoint.decode_quantized = true;
  options.runner.n_threads = flags.n_threads;
  options.runner.device = job.device;
  options.runner.on_device_note = PrintDeviceNote;
  options.divergence = true;
  std::unique_ptr<Progress> bar;
  size_t shown = 2;
  ASSIGN_OR_RETURN(
      const PerplexityReport report,
      MeasurePerplexity(options, [&](size_t model, const ScoreProgress& now) {
        if (model != shown) {
          bar = std::make_unique<Progress>(
              model == 0 ? "measuring the original" : "measuring the output",
              "tokens", now.tokens_total, flags.quiet);
          shown = model;
        }
        bar->Set(now.tokens_done);
      }));
  MeasuredLoss loss;
  loss.text = std::filesystem::path(flags.measured_text).filename().string();
  loss.n_tokens = report.models[1].summary.n_scored;
  loss.perplexity_original = report.models[0].summary.perplexity.value;
  loss.perplexity = report.models[1].summary.perplexity.value;
  if (report.models[1].paired.has_value() &&
      report.models[1].paired->divergence.has_value()) {
    loss.divergence = report.models[1].paired->divergence->mean.value;
    loss.has_divergence = true;
  }
  return std::optional<MeasuredLoss>(loss);
}

// A line a block, since a block can take minutes.
void ShowBlock(const BlockProgress& now, double seconds, int64_t n_before) {
  const double n_done = static_cast<double>(now.block + 1 - n_before);
  const double left =
      seconds / n_done * static_cast<double>(now.n_blocks - now.block - 1);
  std::fprintf(stderr,
               "block %lld of %lld: observed %.1f s, solved %.1f s, advanced "
               "%.1f s; error %.5f (rounding %.5f); %.2f blocks/min, %s left\n",
               static_cast<long long>(now.block + 1),
               static_cast<long long>(now.n_blocks), now.observe_seconds,
               now.solve_seconds, now.advance_seconds, now.error,
               now.error_rounding, 60 * n_done / std::max(seconds, 1e-9),
               FormatDuration(left).c_str());
}

// What was measured, for the manifest.
Measurements Measured(const std::optional<MeasuredLoss>& loss) {
  Measurements rows;
  if (!loss.has_value()) {
    return rows;
  }
  const auto add = [&](const char* name, double value) {
    provenance::Measurement row;
    row.set_name(name);
    row.set_value(value);
    row.set_text(absl::StrCat(loss->text, ", ", loss->n_tokens, " tokens"));
    rows.push_back(std::move(row));
  };
  add("perplexity of the original", loss->perplexity_original);
  add("perplexity", loss->perplexity);
  if (loss->has_divergence) {
    add("KL divergence", loss->divergence);
  }
  return rows;
}

absl::Status Write(const Job& job, const ModelInput& input,
                   const QuantizePlan& plan, const ModelInputOptions& options,
                   QuantizeOutcome* outcome) {
  const Flags& flags = *job.flags;
  const auto recorder = ProvenanceRecorder::Begin(job.provenance);
  std::optional<ImportanceMatrix> importance;
  if (!plan.recipe.imatrix().empty()) {
    ASSIGN_OR_RETURN(importance, ReadImportance(plan.recipe.imatrix()));
  }
  RunOptions run;
  run.device = job.device;
  run.on_device_note = PrintDeviceNote;
  run.out = flags.out;
  run.plan = job.plan_options;
  run.input = options;
  run.n_threads = flags.n_threads;
  run.hidden_bytes = job.hidden_bytes;
  run.restart = flags.restart;
  run.verify = flags.verify;
  run.importance = importance.has_value() ? &*importance : nullptr;
  run.cancelled = CatchSignals();
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> start;
  int64_t first_block = 0;
  run.on_block = [&](const BlockProgress& now) {
    const double took =
        now.observe_seconds + now.solve_seconds + now.advance_seconds;
    if (!start.has_value()) {
      first_block = now.block;
      start = Clock::now() - std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(took));
    }
    if (!flags.quiet) {
      ShowBlock(now,
                std::chrono::duration<double>(Clock::now() - *start).count(),
                first_block);
    }
  };
  std::unique_ptr<Progress> weighing;
  double weighed = 0;
  run.on_weights = [&](double share) {
    constexpr int64_t kParts = 1000;
    if (weighing == nullptr) {
      weighing = std::make_unique<Progress>("weighing tokens", "steps", kParts,
                                            flags.quiet);
    }
    weighing->Add(std::llround(share * kParts) -
                  std::llround(weighed * kParts));
    weighed = share;
    if (share >= 1) {
      weighing.reset();
    }
  };
  std::unique_ptr<Progress> bar;  // from the first byte on
  run.on_written = [&](int64_t n) {
    if (bar == nullptr) {
      bar =
          std::make_unique<Progress>(plan.calibrated ? "writing" : "quantizing",
                                     "B", plan.tensor_bytes, flags.quiet);
    }
    bar->Add(n);
  };
  run.model_card =
      [&](const std::string& folder,
          const QuantizeResult& result) -> absl::StatusOr<std::string> {
    bar.reset();
    ASSIGN_OR_RETURN(outcome->measured, Measure(job, folder));
    QuantizeCardInputs card{&input,        &plan, &result,
                            flags.command, "",    outcome->measured};
    const std::string readme = JoinPath(input.folder, "README.md");
    if (FileExists(readme)) {
      ASSIGN_OR_RETURN(card.original_readme, ReadTextFile(readme, 64 << 20));
    }
    return QuantizeCard(card);
  };
  run.before_finish = [&](const std::string& folder) {
    return recorder->WriteInto(folder, flags.out, Measured(outcome->measured));
  };
  ASSIGN_OR_RETURN(outcome->result, RunQuantize(input, plan, run));
  bar.reset();
  if (outcome->result.was_complete && !flags.quiet) {
    std::fprintf(stderr, "narrow: a run before had finished %s already\n",
                 flags.out.c_str());
  }
  return absl::OkStatus();
}

// Some layers of the output, for narrow merge.
absl::Status RunPart(const Job& job, const ModelInput& input,
                     const QuantizePlan& plan) {
  const Flags& flags = *job.flags;
  PackedPartJob part;
  part.shard = flags.shard;
  part.out = flags.out;
  part.request.model = flags.model;
  part.request.command = flags.command;
  part.request.decode_quantized = flags.decode_quantized;
  part.request.max_shard_bytes = job.plan_options.max_shard_bytes;
  part.request.n_threads = flags.n_threads;
  part.request.device = job.device;
  part.provenance = job.provenance;
  part.dry_run = flags.dry_run;
  part.quiet = flags.quiet;
  part.json = flags.json;
  return RunPackedPart(input, plan, std::move(part));
}

absl::Status Run(Job job) {
  const Flags& flags = *job.flags;
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  if (!flags.json.empty() && !flags.out.empty() &&
      SameFile(flags.json, flags.out)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--json and --out are one file, ", flags.out));
  }
  ASSIGN_OR_RETURN(job.device, OpenDeviceAsked(flags.device));
  if (!flags.measured_text.empty()) {
    RETURN_IF_ERROR(
        Annotate(MappedFile::Open(flags.measured_text).status(), "--measure"));
  }
  ModelInputOptions options;
  options.decode_quantized = flags.decode_quantized;
  options.lora_folder = flags.lora;
  ASSIGN_OR_RETURN(const auto input, OpenModelInput(flags.model, options));
  ASSIGN_OR_RETURN(const QuantizePlan plan,
                   PlanQuantize(*input, job.recipe, job.plan_options));
  for (const std::string& note : plan.notes) {
    std::fprintf(stderr, "narrow: warning: %s\n", OneLine(note).c_str());
  }
  if (flags.print_recipe) {
    std::fputs(RecipeText(plan.recipe).c_str(), stdout);
    return absl::OkStatus();
  }
  if (!flags.shard.empty()) {
    return RunPart(job, *input, plan);
  }
  QuantizeOutcome outcome;
  outcome.out = flags.out.empty() ? "(no --out)" : flags.out;
  outcome.dry_run = flags.dry_run;
  if (!flags.dry_run) {
    RETURN_IF_ERROR(Write(job, *input, plan, options, &outcome));
  }
  outcome.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (flags.json != "-") {
    if (flags.dry_run) {
      std::fputs(QuantizeTable(plan).c_str(), stdout);
    }
    if (flags.dry_run || !flags.quiet) {
      std::fputs(QuantizeSummary(plan, outcome).c_str(), stdout);
    }
  }
  return WriteJson(flags.json, QuantizeJson(plan, outcome));
}

// Flags that the bytes of the output do not depend on.
bool IsForTheRunAlone(const std::string& name) {
  for (const char* row :
       {"--out", "--threads", "--json", "--quiet", "--memory", "--restart",
        "--device", "--no-verify", "--help", "--no-manifest", "--shard"}) {
    if (name == row) {
      return true;
    }
  }
  return false;
}

// The command with every path reduced to its last part.
std::string CommandText(const CLI::App& command) {
  std::vector<std::string> words = {"narrow", "quantize"};
  for (const CLI::Option* option : command.get_options()) {
    const bool is_positional = option->get_positional();
    const std::string flag =
        option->get_lnames().empty() ? "" : "--" + option->get_lnames()[0];
    if (option->count() == 0 || IsForTheRunAlone(flag)) {
      continue;
    }
    const bool is_path = is_positional || option->get_type_name() == "FILE" ||
                         option->get_type_name() == "DIR";
    if (option->get_expected_max() == 0) {
      words.push_back(flag);
      continue;
    }
    for (const std::string& value : option->results()) {
      const std::filesystem::path path =
          std::filesystem::path(value).lexically_normal();
      const std::string shown = !is_path ? value
                                : path.has_filename()
                                    ? path.filename().string()
                                    : path.parent_path().filename().string();
      if (!is_positional) {
        words.push_back(flag);
      }
      words.push_back(shown.find_first_of(" \\'\"$*()|;&<>`") ==
                              std::string::npos
                          ? shown
                          : absl::StrCat("'", shown, "'"));
    }
  }
  return OneLine(absl::StrJoin(words, " "));
}

void AddOutputFlags(CLI::App* command, Flags* flags) {
  command
      ->add_option("model", flags->model,
                   "directory with config.json and safetensors")
      ->type_name("MODEL")
      ->required();
  command
      ->add_option("-o,--out", flags->out,
                   "directory to write; it must not exist or be empty")
      ->type_name("DIR");
  command
      ->add_option("--lora", flags->lora,
                   "merge this PEFT adapter into the weights first")
      ->type_name("DIR");
  command->add_flag("--merge-only", flags->merge_only,
                    "write the merged model without quantizing it");
  command->add_flag("--decode-quantized", flags->decode_quantized,
                    "take a model that is quantized, decoded first");
  command
      ->add_option("--max-shard-size", flags->max_shard_size,
                   "most bytes of tensors in one file")
      ->type_name("SIZE")
      ->capture_default_str();
  command
      ->add_option("--memory", flags->memory,
                   "hidden states above this go to the disk, compressed")
      ->type_name("SIZE")
      ->capture_default_str();
}

void AddRunFlags(CLI::App* command, Flags* flags) {
  command->add_flag("--dry-run", flags->dry_run,
                    "print what would become of every tensor, and the exact "
                    "size, and write nothing");
  command->add_flag("--print-recipe", flags->print_recipe,
                    "print the recipe that the flags amount to, and stop");
  command->add_flag("--restart", flags->restart,
                    "discard what a stopped run has done");
  command
      ->add_option("--shard", flags->shard,
                   "part K of N of the output, for narrow merge: methods "
                   "without calibration, whole layers; --out is a file then")
      ->type_name("K/N");
  AddManifestFlag(command, &flags->manifest);
  command->add_flag("!--no-verify", flags->verify,
                    "do not read the output back and compare");
  CLI::Option* measure =
      command
          ->add_option("--measure", flags->measured_text,
                       "measure perplexity and KL divergence against the "
                       "original on this text, for the model card")
          ->type_name("FILE");
  command
      ->add_option("--measure-chunks", flags->measured_chunks,
                   "its first N windows of 512 tokens (default: all)")
      ->type_name("N")
      ->needs(measure)
      ->check(CLI::Range(1, 1 << 30));
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddDeviceOption(command, &flags->device);
  command->get_option("--device")
      ->description(
          "where calibration, solvers that have code for it and --measure "
          "compute: auto (default), cpu or cuda; the file is the same "
          "unless --precision is fast");
  AddJsonOption(command, &flags->json);
}

}  // namespace

void AddQuantizeCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "quantize",
      "quantize a model's directory into safetensors that other programs "
      "load");
  command->footer(kExamples);
  AddOutputFlags(command, flags.get());
  AddQuantizeFlags(command, &flags->recipe);
  AddRunFlags(command, flags.get());
  command->callback([flags, command, result] {
    flags->command = CommandText(*command);
    const auto job = JobFromFlags(*command, *flags);
    *result = job.ok() ? CommandResult{Run(*job)}
                       : CommandResult{job.status(), kExitUsage};
  });
}

}  // namespace narrow
