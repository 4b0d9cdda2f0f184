// narrow convert: a model directory or a GGUF file to GGUF files.

#include <atomic>
#include <chrono>
#include <csignal>
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
#include "calibration/importance.h"
#include "converter/commands/command.h"
#include "converter/commands/gguf_flags.h"
#include "converter/conversion_report.h"
#include "converter/mix_rules.h"
#include "converter/output_paths.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/progress.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/nearest.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow convert models/gemma-3-270m --to Q4_K_M
  narrow convert models/gemma-3-270m --to Q4_K_M,Q5_K_M,Q8_0 --out out/
  narrow convert model-f16.gguf --to Q4_K_M --imatrix imatrix.gguf
  narrow convert models/gemma-3-270m --to Q4_K_M --dry-run
  narrow convert model-00001-of-00003.gguf --to COPY --out whole.gguf
  narrow convert model.gguf --to COPY --split-max-size 2G --out shards/model
  narrow convert models/gemma-3-270m --to Q4_K_M \
      --tensor-type 'ffn_down=q6_k' --output-tensor-type q8_0)";

// Set by SIGHUP, SIGINT and SIGTERM; the pipeline looks at it between pieces.
std::atomic<bool> g_cancelled{false};

void OnSignal(int) { g_cancelled.store(true); }

void CatchSignals() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  if (std::signal(SIGHUP, OnSignal) == SIG_IGN) {
    std::signal(SIGHUP, SIG_IGN);  // run by nohup
  }
}

struct Flags {
  std::string model;
  std::string to;
  std::string out;
  std::string imatrix;
  std::string output_type;
  std::string embedding_type;
  std::vector<std::string> tensor_types;
  bool pure = false;
  bool leave_output = false;
  bool allow_requantize = false;
  bool dry_run = false;
  bool quiet = false;
  GgufFlags gguf;
  CheckpointOptions checkpoint;
  int n_threads = 0;
  std::string json;
};

absl::StatusOr<QuantType> ParseTensorType(absl::string_view name,
                                          absl::string_view flag) {
  std::vector<std::string> names;
  for (const BlockCodec* codec : AllCodecs()) {
    names.push_back(TypeName(codec->type));
  }
  const std::optional<QuantType> type = TypeFromName(name);
  if (!type.has_value() || FindCodec(*type) == nullptr ||
      Geometry(*type).ggml_id < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, ": there is no tensor type '", name, "' to convert to; the ",
        "nearest is ", NearestName(name, names),
        "; `narrow types` lists them all"));
  }
  return *type;
}

absl::StatusOr<Recipe> RecipeFromFlags(const Flags& flags) {
  Recipe recipe;
  recipe.pure = flags.pure;
  recipe.leave_output = flags.leave_output;
  recipe.allow_requantize = flags.allow_requantize;
  if (!flags.output_type.empty()) {
    ASSIGN_OR_RETURN(
        recipe.output_type,
        ParseTensorType(flags.output_type, "--output-tensor-type"));
  }
  if (!flags.embedding_type.empty()) {
    ASSIGN_OR_RETURN(
        recipe.embedding_type,
        ParseTensorType(flags.embedding_type, "--token-embedding-type"));
  }
  for (const std::string& row : flags.tensor_types) {
    const size_t equals = row.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tensor-type '", row, "' is not PATTERN=TYPE"));
    }
    ASSIGN_OR_RETURN(const QuantType type,
                     ParseTensorType(row.substr(equals + 1), "--tensor-type"));
    recipe.overrides.push_back({row.substr(0, equals), type});
  }
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
    const Flags& flags, const std::vector<Recipe>& recipes) {
  std::vector<std::string> paths;
  for (const Recipe& recipe : recipes) {
    paths.push_back(OutputPath(flags.model, flags.out, RecipeName(recipe),
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
    for (const std::string& file : FilesOf(output)) {
      RETURN_IF_ERROR(CheckOutputFile(file, flags.model, flags.json));
      RETURN_IF_ERROR(CheckInputIsKept(model, file));
    }
  }
  return absl::OkStatus();
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
  options.cancelled = &g_cancelled;
  CatchSignals();
  return WriteOutputs(model, outputs, options);
}

absl::Status Run(const Flags& flags, const std::vector<Recipe>& recipes) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                   OutputPaths(flags, recipes));
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(flags.model, flags.checkpoint));
  std::optional<ImportanceMatrix> importance;
  if (!flags.imatrix.empty()) {
    ASSIGN_OR_RETURN(importance, ReadImportance(flags.imatrix));
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
      std::fprintf(stderr, "narrow: warning: %s\n", warning.c_str());
    }
  }
  if (!flags.dry_run) {
    RETURN_IF_ERROR(Write(*model, outputs, flags));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!flags.quiet && flags.json != "-") {
    for (const Output& output : outputs) {
      std::fputs(Summary(output, flags.dry_run).c_str(), stdout);
    }
    if (!flags.dry_run) {
      std::printf("in %s\n", FormatDuration(seconds).c_str());
    }
  }
  return WriteJson(flags.json, ConversionJson(outputs, seconds, flags.dry_run));
}

CommandResult CheckAndRun(const Flags& flags) {
  const auto recipe = RecipeFromFlags(flags);
  if (!recipe.ok()) {
    return {recipe.status(), kExitUsage};
  }
  const auto recipes = RecipesFromFlag(flags.to, *recipe);
  if (!recipes.ok()) {
    return {recipes.status(), kExitUsage};
  }
  return {Run(flags, *recipes)};
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
                   "of every tensor")
      ->required()
      ->type_name("TYPE[,TYPE]");
  command
      ->add_option("-o,--out", flags->out,
                   "output file, or folder (default: MODEL-TYPE.gguf in the "
                   "current folder)")
      ->type_name("PATH");
  command
      ->add_option("--imatrix", flags->imatrix,
                   "importance matrix of llama-imatrix, .gguf or .dat")
      ->type_name("FILE");
  command->add_flag("--pure", flags->pure,
                    "one type for all tensors, no mix of types");
  command
      ->add_option("--tensor-type", flags->tensor_types,
                   "type for tensors whose name the regular expression "
                   "finds; repeatable, the first that matches decides")
      ->type_name("PATTERN=TYPE")
      ->allow_extra_args(false);
  command
      ->add_option("--output-tensor-type", flags->output_type,
                   "type of the output matrix")
      ->type_name("TYPE");
  command
      ->add_option("--token-embedding-type", flags->embedding_type,
                   "type of the token embedding")
      ->type_name("TYPE");
  command->add_flag("--leave-output-tensor", flags->leave_output,
                    "keep the output matrix as it is");
  command->add_flag("--allow-requantize", flags->allow_requantize,
                    "accept an input that is already quantized");
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
  AddGgufFlags(command, &flags->gguf);
  command->add_flag("--dry-run", flags->dry_run,
                    "print every tensor's type, the reason and the exact "
                    "size, and write nothing");
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { *result = CheckAndRun(*flags); });
}

}  // namespace narrow
