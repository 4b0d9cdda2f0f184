// narrow fit: which file types and packed formats of a model fit into memory.

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/recipe/type_flags.h"
#include "converter/fit/cache_layout.h"
#include "converter/fit/fit_choices.h"
#include "converter/fit/fit_report.h"
#include "converter/fit/memory_need.h"
#include "converter/quantize/model_input.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr char kExamples[] =
    R"(Weights are exact: the sizes of the plans that `convert` and `quantize` would
carry out. The cache is what llama.cpp allocates for the family: key-value
heads of each layer, sliding windows, latent attention, recurrent states. The
buffers of a computation are an allowance. All layers count as on one device.

Exit code 1: nothing fits; the message says what comes closest.

Examples:
  narrow fit models/gemma-3-270m --memory 24GB
  narrow fit models/gemma-3-270m --memory 1GiB --context 32768 \
      --kv f16 --kv q8_0 --parallel 4
  narrow fit model-bf16.gguf --memory 8GB --kv q8_0/q4_0 --all --json fit.json)";

struct Flags {
  std::string model;
  std::string memory;
  std::string reserve;
  std::string compute;
  std::string cache;
  int64_t context = 0;
  int64_t n_parallel = 1;
  int64_t batch = 512;
  std::vector<std::string> kv;
  TypeFlags types;
  CheckpointOptions checkpoint;
  bool gguf_only = false;
  bool all = false;
  std::string json;
};

absl::StatusOr<QuantType> ParseCacheType(absl::string_view name) {
  const std::optional<QuantType> type = TypeFromName(name);
  if (!type.has_value() ||
      !(IsGgufCacheType(*type) || IsPackedCacheType(*type))) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv: there is no cache of type '", name,
                     "'; f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 and "
                     "iq4_nl are llama.cpp's, f8_e4m3 and f8_e5m2 those of "
                     "clients of packed formats"));
  }
  return *type;
}

absl::StatusOr<FitRequest> RequestFromFlags(const Flags& flags) {
  FitRequest request;
  ASSIGN_OR_RETURN(request.memory, ParseByteSize(flags.memory, "--memory"));
  if (!flags.reserve.empty()) {
    ASSIGN_OR_RETURN(request.reserve,
                     ParseByteSize(flags.reserve, "--reserve"));
  }
  if (!flags.compute.empty()) {
    ASSIGN_OR_RETURN(request.compute_bytes,
                     ParseByteSize(flags.compute, "--compute-size"));
  }
  if (!flags.cache.empty()) {
    ASSIGN_OR_RETURN(request.cache_bytes,
                     ParseByteSize(flags.cache, "--cache-size"));
  }
  request.use.context = flags.context;
  request.use.n_parallel = flags.n_parallel;
  request.use.batch = flags.batch;
  for (const std::string& text : flags.kv) {
    const std::vector<std::string> parts = absl::StrSplit(text, '/');
    if (parts.size() > 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--kv '", text, "' is not TYPE or TYPE/TYPE (keys, values)"));
    }
    CacheTypes types;
    ASSIGN_OR_RETURN(types.key, ParseCacheType(parts.front()));
    ASSIGN_OR_RETURN(types.value, ParseCacheType(parts.back()));
    request.types.push_back(types);
  }
  if (request.types.empty()) {
    request.types.push_back({});
  }
  return request;
}

absl::StatusOr<FitChoices> AllOptions(const Checkpoint& model,
                                      const Recipe& recipe,
                                      const Flags& flags) {
  ASSIGN_OR_RETURN(FitChoices all, GgufOptions(model, recipe));
  if (model.is_gguf() || flags.gguf_only) {
    return all;
  }
  ASSIGN_OR_RETURN(const auto input, OpenModelInput(flags.model, {}));
  ASSIGN_OR_RETURN(FitChoices packed, PackedOptions(*input));
  for (FitChoice& option : packed.options) {
    all.options.push_back(std::move(option));
  }
  for (FitRefusal& refusal : packed.refusals) {
    all.refusals.push_back(std::move(refusal));
  }
  return all;
}

absl::Status Run(const Flags& flags, const Recipe& recipe, FitRequest request) {
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const auto model,
                   Checkpoint::Open(flags.model, flags.checkpoint));
  FitShape shape;
  shape.config = model->config();
  if (!request.cache_bytes.has_value()) {
    absl::StatusOr<CacheLayout> layout = CacheLayoutOf(model->metadata());
    RETURN_IF_ERROR(Annotate(layout.status(),
                             absl::StrCat("reading ", OneLine(flags.model))));
    shape.layout = *std::move(layout);
    for (const CacheTypes& types : request.types) {
      RETURN_IF_ERROR(Annotate(CheckCacheTypes(*shape.layout, types), "--kv"));
    }
  }
  if (request.use.context == 0) {
    request.use.context = shape.config.context_length;
    if (request.use.context == 0) {
      return absl::InvalidArgumentError(
          "the model does not say for which context it was trained; give one "
          "with --context");
    }
  }
  ASSIGN_OR_RETURN(const FitChoices options, AllOptions(*model, recipe, flags));
  const std::vector<FitRow> rows = FitRows(options.options, shape, request);
  const absl::Status any = CheckAnyFits(rows, request);
  if (flags.json != "-" && (any.ok() || flags.all)) {
    std::fputs(FitTable(rows, shape, request, flags.all).c_str(), stdout);
  }
  if (flags.all) {
    for (const FitRefusal& refusal : options.refusals) {
      std::fprintf(stderr, "narrow: left out: %s: %s\n", refusal.name.c_str(),
                   OneLine(refusal.reason).c_str());
    }
  }
  RETURN_IF_ERROR(
      WriteJson(flags.json, FitJson(rows, options.refusals, shape, request)));
  return any;
}

CommandResult CheckAndRun(const Flags& flags) {
  Recipe recipe;
  absl::Status usage = AddTypeOptions(flags.types, &recipe);
  if (!usage.ok()) {
    return {usage, kExitUsage};
  }
  const auto request = RequestFromFlags(flags);
  if (!request.ok()) {
    return {request.status(), kExitUsage};
  }
  return {Run(flags, recipe, *request)};
}

void AddMemoryFlags(CLI::App* command, Flags* flags) {
  command->add_option("-m,--memory", flags->memory, "memory there is")
      ->type_name("SIZE")
      ->required();
  command
      ->add_option("-c,--context", flags->context,
                   "positions of each sequence (default: what the model was "
                   "trained for)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command
      ->add_option("--kv", flags->kv,
                   "type of the cache, or KEYS/VALUES; repeatable (default: "
                   "f16)")
      ->type_name("TYPE")
      ->allow_extra_args(false);
  command
      ->add_option("--parallel", flags->n_parallel,
                   "sequences at a time, each with its own context")
      ->type_name("N")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command
      ->add_option("--batch", flags->batch,
                   "positions computed at once (llama.cpp's --ubatch-size)")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      ->add_option("--reserve", flags->reserve,
                   "memory to leave free, for the system or the context of a "
                   "GPU (default: nothing)")
      ->type_name("SIZE");
  command
      ->add_option("--compute-size", flags->compute,
                   "size of the buffers of a computation, in the place of "
                   "the allowance")
      ->type_name("SIZE");
  command
      ->add_option("--cache-size", flags->cache,
                   "size of the cache, in the place of what is computed; for "
                   "families whose cache is not known")
      ->type_name("SIZE");
}

}  // namespace

void AddFitCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "fit", "list the file types and packed formats that fit into memory");
  command->footer(kExamples);
  command
      ->add_option("model", flags->model,
                   "Hugging Face model directory, or a GGUF file")
      ->type_name("MODEL")
      ->required();
  AddMemoryFlags(command, flags.get());
  AddTypeFlags(command, &flags->types);
  command
      ->add_option("--outtype", flags->checkpoint.intermediate,
                   "as for convert (auto, f32, f16, bf16)")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}))
      ->capture_default_str();
  command
      ->add_option("--pre", flags->checkpoint.pre_tokenizer,
                   "tokenizer.ggml.pre, where the pattern in tokenizer.json "
                   "is unknown")
      ->type_name("NAME");
  command->add_flag("--gguf-only", flags->gguf_only,
                    "leave packed formats out");
  command->add_flag("--all", flags->all,
                    "list what does not fit, too, and what cannot be made");
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { *result = CheckAndRun(*flags); });
}

}  // namespace narrow
