// narrow convert: a model directory or a GGUF file to GGUF files.

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/commands/command.h"
#include "converter/commands/convert_allocated.h"
#include "converter/commands/convert_hf.h"
#include "converter/commands/convert_part.h"
#include "converter/commands/convert_solved.h"
#include "converter/commands/flags/allocation_flags.h"
#include "converter/commands/flags/gguf_flags.h"
#include "converter/commands/flags/importance_flags.h"
#include "converter/commands/flags/solver_flags.h"
#include "converter/commands/flags/type_flags.h"
#include "converter/commands/signals.h"
#include "converter/compensated/compensated_report.h"
#include "converter/conversion_report.h"
#include "converter/fallbacks.h"
#include "converter/gguf/output_paths.h"
#include "converter/mix/mix_rules.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/progress.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow convert models/gemma-3-270m --to Q4_K_M
  narrow convert models/gemma-3-270m --to Q4_K_M,Q5_K_M,Q8_0 --out out/
  narrow convert model-f16.gguf --to Q4_K_M --imatrix imatrix.gguf
  narrow convert model-Q4_K_M.gguf --to hf --out model/
  narrow convert models/gemma-3-270m --to Q4_K_M --dry-run
  narrow convert models/gemma-3-270m --to IQ3_XXS --imatrix imatrix.gguf \
      --mode strict
  narrow convert model-00001-of-00003.gguf --to COPY --out whole.gguf
  narrow convert model.gguf --to COPY --split-max-size 2G --out shards/model
  narrow convert models/gemma-3-270m --to Q4_K_M \
      --tensor-type 'ffn_down=q6_k' --output-tensor-type q8_0
  narrow convert models/gemma-3-270m --to Q4_K_M --solver compensated \
      --calibration wiki.valid.tokens
  narrow convert models/gemma-3-270m --to Q4_K_M --shard 2/8 --out part-2
  narrow convert models/gemma-3-270m --target-size 180MB --solver compensated \
      --calibration wiki.valid.tokens --write-recipe types.txt

A run with a solver that is stopped goes on after the last finished block when
the same command is given again.)";

struct Flags {
  std::string model;
  std::string to;
  std::string out;
  TypeFlags types;
  ImportanceFlags importance;
  SolverFlags solver;
  AllocationFlags allocation;
  std::string shard;
  bool dry_run = false;
  bool quiet = false;
  GgufFlags gguf;
  CheckpointOptions checkpoint;
  HfFlags hf;
  int n_threads = 0;
  std::string json;
};

absl::StatusOr<Recipe> RecipeFromFlags(const Flags& flags) {
  Recipe recipe;
  RETURN_IF_ERROR(AddTypeOptions(flags.types, &recipe));
  recipe.dry_run = flags.dry_run;
  recipe.missing_importance_chosen = !flags.importance.missing.empty();
  RETURN_IF_ERROR(AddGgufOptions(flags.gguf, &recipe));
  return recipe;
}

// One recipe a file type: `recipe` with each.
absl::StatusOr<std::vector<Recipe>> RecipesFromFlag(const std::string& to,
                                                    Recipe recipe) {
  std::vector<Recipe> recipes;
  const std::vector<FileType> offered = OfferedFileTypes();
  for (absl::string_view name : absl::StrSplit(to, ',', absl::SkipEmpty())) {
    name = absl::StripAsciiWhitespace(name);
    recipe.copy = absl::EqualsIgnoreCase(name, "COPY");
    if (!recipe.copy) {
      ASSIGN_OR_RETURN(recipe.file_type, ParseFileType(name));
      if (std::find(offered.begin(), offered.end(), recipe.file_type) ==
          offered.end()) {
        return absl::UnimplementedError(absl::StrCat(
            "--to: file type ", Info(recipe.file_type).name,
            " exists, but not every tensor type it uses can be written yet; "
            "`narrow types` lists those that can"));
      }
    }
    const bool repeated =
        std::any_of(recipes.begin(), recipes.end(), [&](const Recipe& other) {
          return other.copy == recipe.copy &&
                 (recipe.copy || other.file_type == recipe.file_type);
        });
    if (!repeated) {
      recipes.push_back(recipe);
    }
  }
  if (recipes.empty()) {
    return absl::InvalidArgumentError("--to names no file type");
  }
  return recipes;
}

// The path of each output, and that none is the input.
absl::StatusOr<std::vector<std::string>> OutputPaths(
    const Flags& flags, const std::vector<Recipe>& recipes,
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

// That no file of any output is read or written besides.
absl::Status CheckFiles(const Checkpoint& model,
                        const std::vector<Output>& outputs,
                        const Flags& flags) {
  for (const Output& output : outputs) {
    for (const std::string& file :
         flags.shard.empty() ? FilesOf(output)
                             : std::vector<std::string>{output.path}) {
      RETURN_IF_ERROR(CheckOutputFile(file, flags.model, flags.json));
      RETURN_IF_ERROR(CheckInputIsKept(model, file));
      std::vector<std::string> inputs = flags.solver.texts;
      inputs.push_back(flags.importance.path);
      inputs.push_back(flags.types.tensor_type_file);
      inputs.push_back(flags.allocation.probe);
      for (const std::string& input : inputs) {
        if (!input.empty()) {
          RETURN_IF_ERROR(CheckOutputFile(file, input, ""));
        }
      }
    }
  }
  return absl::OkStatus();
}

// That the file of --write-recipe is none that is read or written besides.
absl::Status CheckRecipeFile(const Checkpoint& model, const Flags& flags,
                             const std::string& output) {
  const std::string& file = flags.allocation.recipe;
  if (file.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckInputIsKept(model, file));
  std::vector<std::string> others = flags.solver.texts;
  for (const std::string& other :
       {flags.model, output, flags.importance.path,
        flags.types.tensor_type_file, flags.allocation.probe}) {
    others.push_back(other);
  }
  for (const std::string& other : others) {
    if (!other.empty()) {
      RETURN_IF_ERROR(
          Annotate(CheckOutputFile(file, other, flags.json), "--write-recipe"));
    }
  }
  return absl::OkStatus();
}

// Of a GGUF file, what these say is fixed.
void WarnOfDirectoryOptions(const CLI::App& command, const Checkpoint& model) {
  for (const char* name :
       {"--outtype", "--pre", "--model-name", "--decode-quantized"}) {
    if (model.is_gguf() && command.count(name) > 0) {
      std::fprintf(stderr,
                   "narrow: warning: %s is for model directories and changes "
                   "nothing, since %s is a GGUF file; see --override-kv\n",
                   name, OneLine(model.path()).c_str());
    }
  }
}

// Lists what strict mode does not accept, and fails if there is any.
absl::Status CheckStrict(const std::vector<Plan>& plans) {
  absl::Status status;
  for (const Plan& plan : plans) {
    if (plan.recipe.mode != Mode::kStrict || plan.recipe.copy) {
      continue;
    }
    const std::vector<std::string> problems = StrictProblems(plan);
    for (const std::string& problem : problems) {
      std::fprintf(stderr, "narrow: strict: %s: %s\n", RecipeName(plan.recipe),
                   OneLine(problem).c_str());
    }
    status.Update(StrictError(plan, problems.size()));
  }
  return status;
}

absl::Status Write(const Checkpoint& model, const std::vector<Output>& outputs,
                   const Flags& flags) {
  int64_t n_bytes = 0;
  for (const CheckpointTensor& tensor : model.tensors()) {
    n_bytes += tensor.meta.n_bytes();
  }
  Progress progress("converting", "B", n_bytes, flags.quiet);
  PipelineOptions options;
  options.n_threads = flags.n_threads;
  options.on_progress = [&progress](int64_t n) { progress.Add(n); };
  options.cancelled = CatchSignals();
  return WriteOutputs(model, outputs, options);
}

// One part of the output, instead of the output; the plan is checked.
absl::Status RunPart(const Checkpoint& model, const Output& output,
                     const CalibrationSamples& samples,
                     const SolverRequest& solver, const PartJob& part,
                     const Flags& flags) {
  const auto start = std::chrono::steady_clock::now();
  int64_t file_bytes = 0;
  if (!flags.dry_run && solver.on) {
    const SolvedJob job = {solver, flags.n_threads, flags.quiet,
                           part.cancelled};
    ASSIGN_OR_RETURN(file_bytes, WriteSolvedPart(model, samples, *output.plan,
                                                 output.path, part, job));
  } else if (!flags.dry_run) {
    ASSIGN_OR_RETURN(file_bytes,
                     WriteOnePart(model, *output.plan, output.path, part));
  }
  if (!flags.quiet && flags.json != "-") {
    std::fputs(
        PartSummary(*output.plan, output.path, part, file_bytes, flags.dry_run)
            .c_str(),
        stdout);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return WriteJson(flags.json, PartJson(*output.plan, output.path, part,
                                        file_bytes, seconds, flags.dry_run));
}

absl::Status Run(const CLI::App& command, const Flags& flags,
                 std::vector<Recipe> recipes, const SolverRequest& solver,
                 const AllocationJob& allocation, PartJob part) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                   OutputPaths(flags, recipes, allocation, part));
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(flags.model, flags.checkpoint));
  WarnOfDirectoryOptions(command, *model);
  ASSIGN_OR_RETURN(const std::optional<ImportanceMatrix> importance,
                   ReadImportanceAsked(flags.importance));

  std::optional<Chosen> chosen;
  if (allocation.on) {
    RETURN_IF_ERROR(CheckRecipeFile(*model, flags, paths.front()));
    ASSIGN_OR_RETURN(
        chosen, ChooseTypes(*model, recipes.front(),
                            importance.has_value() ? &*importance : nullptr,
                            allocation, solver, paths.front(),
                            {flags.n_threads, flags.quiet, CatchSignals()}));
    recipes = {chosen->allocation.recipe};
  }
  std::vector<Plan> plans;
  for (const Recipe& recipe : recipes) {
    absl::StatusOr<Plan> plan = MakePlan(
        *model, recipe, importance.has_value() ? &*importance : nullptr);
    if (!plan.ok()) {
      return Annotate(plan.status(),
                      absl::StrCat("planning ", RecipeName(recipe)));
    }
    plans.push_back(*std::move(plan));
  }
  std::vector<Output> outputs;
  for (size_t i = 0; i < plans.size(); ++i) {
    outputs.push_back({&plans[i], paths[i]});
  }
  RETURN_IF_ERROR(CheckFiles(*model, outputs, flags));

  for (const Output& output : outputs) {
    if (flags.dry_run && flags.json != "-") {
      std::fputs(TensorTable(*output.plan).c_str(), stdout);
    }
    for (const std::string& warning : Warnings(*output.plan)) {
      std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
    }
  }
  RETURN_IF_ERROR(CheckStrict(plans));
  CalibrationSamples samples;
  if (solver.on) {
    ASSIGN_OR_RETURN(samples, SolverSamples(*model, solver, outputs));
  }
  if (part.on) {
    part.n_threads = flags.n_threads;
    part.quiet = flags.quiet;
    part.cancelled = CatchSignals();
    return RunPart(*model, outputs.front(), samples, solver, part, flags);
  }
  std::vector<CompensatedOutcome> outcomes;
  if (!flags.dry_run && solver.on) {
    const SolvedJob job = {solver, flags.n_threads, flags.quiet,
                           CatchSignals()};
    ASSIGN_OR_RETURN(outcomes, WriteSolved(*model, samples, outputs, job, {}));
  } else if (!flags.dry_run) {
    RETURN_IF_ERROR(Write(*model, outputs, flags));
  }
  if (chosen.has_value() && !flags.dry_run) {
    RETURN_IF_ERROR(
        JudgeChoice(*model, FilesOf(outputs.front()).front(), solver,
                    {flags.n_threads, flags.quiet, CatchSignals()}, &*chosen));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!flags.quiet && flags.json != "-") {
    if (chosen.has_value()) {
      std::fputs(AllocationText(*chosen, allocation).c_str(), stdout);
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::fputs(Summary(outputs[i], flags.dry_run).c_str(), stdout);
      if (solver.on) {
        std::fputs((flags.dry_run ? SolvedDryRun(*model, outputs[i], samples)
                                  : CompensatedSummary(outcomes[i]))
                       .c_str(),
                   stdout);
      }
    }
    if (!flags.dry_run) {
      std::printf("in %s\n", FormatDuration(seconds).c_str());
    }
  }
  const auto more = [&](size_t output, JsonWriter* json) {
    if (chosen.has_value()) {
      AllocationJson(*chosen, allocation, json);
    }
    if (output < outcomes.size()) {
      CompensatedJson(outcomes[output], json);
    }
  };
  return WriteJson(flags.json,
                   ConversionJson(outputs, seconds, flags.dry_run, more));
}

CommandResult WriteHfDirectory(const CLI::App& command, const Flags& flags) {
  return ConvertToHf(
      command, {flags.model, flags.out, flags.hf, flags.dry_run, flags.quiet,
                flags.n_threads, flags.json, CatchSignals()});
}

CommandResult CheckAndRun(const CLI::App& command, const Flags& flags) {
  const absl::Status usage = CheckNoHfOptions(command);
  if (!usage.ok()) {
    return {usage, kExitUsage};
  }
  const auto allocation = AllocationFromFlags(command, flags.allocation);
  if (!allocation.ok()) {
    return {allocation.status(), kExitUsage};
  }
  const auto solver = SolverFromFlags(command, flags.solver, allocation->on);
  if (!solver.ok()) {
    return {solver.status(), kExitUsage};
  }
  auto recipe = RecipeFromFlags(flags);
  if (!recipe.ok()) {
    return {recipe.status(), kExitUsage};
  }
  recipe->calibrated = solver->on;
  const auto recipes = allocation->on ? std::vector<Recipe>{*recipe}
                                      : RecipesFromFlag(flags.to, *recipe);
  if (!recipes.ok()) {
    return {recipes.status(), kExitUsage};
  }
  if (solver->on) {
    const absl::Status solvable = CheckSolvable(*recipes);
    if (!solvable.ok()) {
      return {solvable, kExitUsage};
    }
  }
  const auto part =
      PartFromFlag(flags.shard, *recipes, *solver, allocation->on);
  if (!part.ok()) {
    return {part.status(), kExitUsage};
  }
  return {Run(command, flags, *recipes, *solver, *allocation, *part)};
}

}  // namespace

void AddConvertCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "convert", "convert a model directory or GGUF file to GGUF files");
  command->footer(kExamples);
  command
      ->add_option("model", flags->model,
                   "Hugging Face model directory (config.json and "
                   "safetensors), or a GGUF file")
      ->required();
  command
      ->add_option("--to", flags->to,
                   "file types, comma separated: Q4_K_M, Q8_0, …; several are "
                   "written in one read of the weights; COPY keeps the type "
                   "of every tensor; hf makes a Hugging Face directory of a "
                   "GGUF file")
      ->type_name("TYPE[,TYPE]");
  command
      ->add_option("-o,--out", flags->out,
                   "output file, or folder (default: MODEL-TYPE.gguf in the "
                   "current folder)")
      ->type_name("PATH");
  AddImportanceFlags(command, &flags->importance);
  AddTypeFlags(command, &flags->types);
  AddSolverFlags(command, &flags->solver);
  AddAllocationFlags(command, &flags->allocation);
  command
      ->add_option("--outtype", flags->checkpoint.intermediate,
                   "type that matrices of a directory pass through, as "
                   "llama.cpp's converter does (auto, f32, f16, bf16)")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}))
      ->capture_default_str();
  command
      ->add_option("--pre", flags->checkpoint.pre_tokenizer,
                   "tokenizer.ggml.pre, where the pattern in tokenizer.json "
                   "is unknown")
      ->type_name("NAME");
  command
      ->add_option("--model-name", flags->checkpoint.model_name,
                   "general.name of the output")
      ->type_name("NAME");
  command->add_flag("--decode-quantized", flags->checkpoint.decode_quantized,
                    "convert a directory that is quantized already (GPTQ, "
                    "AWQ, FP8, …): its weights are decoded, and what they "
                    "lost stays lost");
  AddGgufFlags(command, &flags->gguf);
  command
      ->add_option("--shard", flags->shard,
                   "do part K of N, about as many bytes each, to be put "
                   "together by narrow merge: for parts on several machines")
      ->type_name("K/N");
  command->add_flag("--dry-run", flags->dry_run,
                    "print every tensor's type, the reason and the exact "
                    "size, and write nothing");
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddJsonOption(command, &flags->json);
  AddHfOptions(command, &flags->hf);
  command->callback([command, flags, result] {
    *result = IsHfTarget(flags->to) ? WriteHfDirectory(*command, *flags)
                                    : CheckAndRun(*command, *flags);
  });
}

}  // namespace narrow
