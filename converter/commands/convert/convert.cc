// narrow convert: a model directory or a GGUF file to GGUF files.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/commands/command.h"
#include "converter/commands/convert/convert_hf.h"
#include "converter/commands/convert/convert_part.h"
#include "converter/commands/convert/convert_plans.h"
#include "converter/commands/convert/convert_run.h"
#include "converter/commands/convert/convert_solved.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/mix/mix_rules.h"
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

absl::StatusOr<Recipe> RecipeFromFlags(const ConvertFlags& flags) {
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

CommandResult WriteHfDirectory(const CLI::App& command,
                               const ConvertFlags& flags) {
  return ConvertToHf(
      command, {flags.model, flags.out, flags.hf, flags.dry_run, flags.quiet,
                flags.n_threads, flags.json, CatchSignals(), flags.manifest});
}

// A part by its own plan: no type is chosen any more.
CommandResult RunPlanned(const CLI::App& command, const ConvertFlags& flags) {
  const absl::Status usage = CheckPlannedOptions(command);
  if (!usage.ok()) {
    return {usage, kExitUsage};
  }
  return {WritePlannedShard(flags.model, flags.plans.plan,
                            flags.importance.path, flags.out, flags.n_threads,
                            flags.device, flags.quiet)};
}

CommandResult CheckAndRun(const CLI::App& command, const ConvertFlags& flags) {
  if (!flags.plans.plan.empty()) {
    return RunPlanned(command, flags);
  }
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
  recipe->calibrated_embedding = solver->on && solver->fisher;
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
  const absl::Status plans =
      CheckPlanFlags(flags.plans, recipes->size(), solver->on, part->on);
  if (!plans.ok()) {
    return {plans, kExitUsage};
  }
  return {RunConversion(command, flags, *recipes, *solver, *allocation, *part)};
}

}  // namespace

void AddConvertCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<ConvertFlags>();
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
  command->add_option("--only-tensor", flags->only)->group("");  // hidden
  AddPlanFlags(command, &flags->plans);
  AddManifestFlag(command, &flags->manifest);
  command->add_flag("--dry-run", flags->dry_run,
                    "print every tensor's type, the reason and the exact "
                    "size, and write nothing");
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddDeviceOption(command, &flags->device);
  AddJsonOption(command, &flags->json);
  AddHfOptions(command, &flags->hf);
  command->callback([command, flags, result] {
    *result = IsHfTarget(flags->to) ? WriteHfDirectory(*command, *flags)
                                    : CheckAndRun(*command, *flags);
  });
}

}  // namespace narrow
