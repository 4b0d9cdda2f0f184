// narrow perplexity: how well models predict a text, and what the second and
// following lost against the first.

#include "validate/perplexity/perplexity.h"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/progress.h"
#include "formats/base/status.h"
#include "validate/perplexity/report.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Protocols:
  default          as llama-perplexity: windows of 512, the second half of
                   each is scored, and each begins with BOS if the vocabulary
                   has it so; what is left at the end is dropped
  --stride S       as Hugging Face's documentation: windows advance by S and
                   score the tokens not scored before; BOS stands at the
                   beginning of the text if the tokenizer puts it there
  --all-positions  the same with windows that do not overlap

Examples:
  narrow perplexity gemma-3-270m --text wiki.test.raw
  narrow perplexity gemma-3-270m gemma-3-270m-Q4_K_M.gguf \
      gemma-3-270m-Q8_0.gguf --text wiki.test.raw --chunks 8 --json out.json
  narrow perplexity gemma-3-270m gemma-3-270m-gptq --text wiki.test.raw \
      --chunks 40 --kl-divergence
  narrow perplexity model.gguf --text wiki.test.raw --context 1024 \
      --stride 512 --precision exact)";

struct Flags {
  PerplexityOptions options;
  std::vector<std::string> flagged_models;
  std::string precision = "fast";
  std::string device;
  bool all_positions = false;
  bool quiet = false;
  std::string json;
};

// A bar for each model in turn.
class ModelBars {
 public:
  ModelBars(const std::vector<std::string>& models, bool quiet)
      : models_(models), quiet_(quiet) {}

  void Show(size_t model, const ScoreProgress& now) {
    if (bar_ == nullptr || model != model_) {
      bar_.reset();  // ends its line before the next begins
      bar_ =
          std::make_unique<Progress>(absl::StrCat("measuring ", models_[model]),
                                     "tokens", now.tokens_total, quiet_);
      model_ = model;
    }
    bar_->Set(now.tokens_done);
  }

 private:
  const std::vector<std::string>& models_;
  const bool quiet_;
  size_t model_ = 0;
  std::unique_ptr<Progress> bar_;
};

// The options that the flags ask for, or what contradicts in them.
absl::StatusOr<PerplexityOptions> OptionsFromFlags(const Flags& flags) {
  PerplexityOptions options = flags.options;
  options.models.insert(options.models.begin(), flags.flagged_models.begin(),
                        flags.flagged_models.end());
  if (options.models.empty()) {
    return absl::InvalidArgumentError(
        "no model is named; see narrow perplexity --help");
  }
  WindowSettings& windows = options.windows;
  if (flags.all_positions) {
    windows.stride = windows.context;
  }
  if (windows.stride != 0) {
    windows.protocol = Protocol::kHuggingFace;
  }
  options.runner.precision =
      flags.precision == "exact" ? Precision::kExact : Precision::kFast;
  // The weights as they are; the 16-bit types on the way to a GGUF file are
  // no part of the model.
  options.checkpoint.intermediate = "exact";
  options.checkpoint.decode_quantized = true;
  RETURN_IF_ERROR(CheckWindowSettings(windows));
  return options;
}

absl::Status Run(const Flags& flags, PerplexityOptions options) {
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(options.runner.device, OpenDeviceAsked(flags.device));
  options.runner.on_device_note = PrintDeviceNote;
  auto bars = std::make_unique<ModelBars>(options.models, flags.quiet);
  auto report = MeasurePerplexity(
      options, [&bars](size_t model, const ScoreProgress& progress) {
        bars->Show(model, progress);
      });
  bars.reset();
  RETURN_IF_ERROR(report.status());
  for (const std::string& warning : report->warnings) {
    std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
  }
  if (flags.json != "-") {
    std::fputs(RenderReport(*report).c_str(), stdout);
  }
  return WriteJson(flags.json, ReportJson(*report));
}

// Models are named by position, or as llama.cpp's tools have it.
void AddModelOptions(CLI::App* command, Flags* flags) {
  command
      ->add_option("models", flags->options.models,
                   "model directories or GGUF files; the first is the "
                   "reference that the others are compared with")
      ->type_name("MODEL");
  command
      ->add_option("-m,--model", flags->flagged_models,
                   "a model, as llama.cpp's tools name it; repeatable, before "
                   "those named by position")
      ->type_name("MODEL")
      ->allow_extra_args(false);
}

void AddWindowOptions(CLI::App* command, Flags* flags) {
  WindowSettings* windows = &flags->options.windows;
  command
      ->add_option("-c,--context,--ctx-size", windows->context,
                   "tokens a window (default: 512)")
      ->type_name("N")
      ->check(CLI::Range(2, 1 << 20));
  command
      ->add_option("--chunks", windows->max_windows,
                   "score the first N windows (default: -1, all)")
      ->type_name("N")
      ->check([](const std::string& value) {
        return value == "0" ? "no window would be scored" : "";
      });
  CLI::Option* stride =
      command
          ->add_option("--stride", windows->stride,
                       "Hugging Face protocol: windows advance by S tokens "
                       "and score what is new")
          ->type_name("S")
          ->check(CLI::Range(1, 1 << 20));
  command
      ->add_flag("--all-positions", flags->all_positions,
                 "score every position of windows that follow each other; "
                 "the same as --stride with the context")
      ->excludes(stride);
}

}  // namespace

void AddPerplexityCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  PerplexityOptions* options = &flags->options;
  CLI::App* command = app->add_subcommand(
      "perplexity", "measure how well models predict a text, side by side");
  command->footer(kExamples);
  AddModelOptions(command, flags.get());
  // One value a flag, or a model that follows would be read as a text.
  command
      ->add_option("-f,--text,--file", options->texts,
                   "text to predict, UTF-8; repeatable, files are joined")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->required();
  AddWindowOptions(command, flags.get());
  command
      ->add_option("--precision", flags->precision,
                   "products in bfloat16 where the processor or card has them "
                   "(fast, default) or in float32 (exact)")
      ->type_name("MODE")
      ->check(CLI::IsMember({"fast", "exact"}));
  command->add_flag("--kl-divergence", options->divergence,
                    "also the KL divergence of the other models from the "
                    "first: mean with its error, and percentiles");
  command->add_flag("--token-scores", options->token_scores,
                    "with --json: also the tokens of every window, and what "
                    "each scored one came to");
  command
      ->add_option("--pre", options->checkpoint.pre_tokenizer,
                   "tokenizer.ggml.pre, where the pattern in tokenizer.json "
                   "is unknown")
      ->type_name("NAME");
  command->add_flag("-q,--quiet", flags->quiet, "no progress");
  AddThreadsOption(command, &options->runner.n_threads);
  AddDeviceOption(command, &flags->device, "; the report and JSON name it");
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] {
    const auto checked = OptionsFromFlags(*flags);
    *result = checked.ok() ? CommandResult{Run(*flags, *checked)}
                           : CommandResult{checked.status(), kExitUsage};
  });
}

}  // namespace narrow
