// narrow validate: candidates judged against the model they were made from.

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/commands/expected_types.h"
#include "converter/commands/flags/command_line.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/gate_flags.h"
#include "converter/commands/flags/page_flags.h"
#include "converter/commands/flags/task_flags.h"
#include "converter/progress.h"
#include "converter/provenance/made_by.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/tasks/task_report.h"
#include "validate/validation.h"
#include "validate/validation/validation_json.h"
#include "validate/validation/validation_table.h"

namespace narrow {
namespace {

constexpr char kExamples[] =
    R"(Measured are, for each candidate on each text, all figures of llama-perplexity's
--kl-divergence table, by the same windows: perplexity, its difference from the
original's, KL divergence, change of the right token's probability, share of
equal top tokens; without its 16-bit storage and its clipping at 16 nats.

With a limit (Gate), a candidate passes if even the worst value that the text
allows at the error rate is within it, fails if even the best one is beyond it,
and is undecided otherwise: then more text is needed.

Exit codes: 0 passed (or no gate), 3 failed, 4 undecided, 1 error, 2 usage.

Examples:
  narrow validate gemma-3-270m gemma-3-270m-Q8_0.gguf gemma-3-270m-Q4_K_M.gguf \
      --text wiki.test.raw --chunks 40
  narrow validate gemma-3-270m gemma-3-270m-Q4_K_M.gguf --cache ~/.cache/narrow \
      --text prose=wiki.test.raw --text code=code.txt \
      --max-ppl-delta 2% --max-kld 0.05 --early-stop --json report.json
  narrow validate gemma-3-270m gemma-3-270m-*.gguf --text wiki.test.raw \
      --task hellaswag_val.jsonl --tasks 400 --html report.html
  narrow validate gemma-3-270m --task mmlu=mmlu/test --few-shot mmlu/dev
  narrow validate gemma-3-270m-Q4_K_M.gguf --base base.kld
  narrow validate gemma-3-270m gemma-3-270m-Q8_0.gguf --text wiki.test.raw \
      --write-base base.kld)";

struct Flags {
  ValidationOptions options;
  GateFlags gate;
  TaskFlags tasks;
  PageFlags pages;
  std::string command_line;  // as it was given, but for where results go
  std::vector<std::string> models;
  std::vector<std::string> texts;
  std::string precision = "exact";
  std::string device;
  std::string protocol = "llama.cpp";
  std::string cache_type = "f32";
  bool all_positions = false;
  bool quiet = false;
  std::string json;
};

// "name=FILE" is a text of its own, unless the whole is a file's name; files
// without a name are one text.
void AddText(const std::string& flag, std::vector<ValidationDomain>* domains) {
  std::string name = "text";
  std::string path = flag;
  const size_t equals = flag.find('=');
  if (equals != std::string::npos && equals > 0 && flag.find('/') > equals &&
      !FileExists(flag)) {
    name = flag.substr(0, equals);
    path = flag.substr(equals + 1);
  }
  for (ValidationDomain& domain : *domains) {
    if (domain.name == name) {
      domain.paths.push_back(path);
      return;
    }
  }
  domains->push_back({name, {path}});
}

absl::Status WindowsFromFlags(const Flags& flags, WindowSettings* windows) {
  if (flags.all_positions) {
    windows->stride = windows->context;
  }
  if (windows->stride != 0) {
    windows->protocol = Protocol::kHuggingFace;
  }
  if (flags.protocol == "huggingface") {
    windows->protocol = Protocol::kHuggingFace;
    windows->stride = windows->stride == 0 ? windows->context : windows->stride;
  }
  return CheckWindowSettings(*windows);
}

// What the flags ask for, or what contradicts in them.
absl::StatusOr<ValidationOptions> OptionsFromFlags(const Flags& flags) {
  ValidationOptions options = flags.options;
  options.candidates = flags.models;
  if (options.base_path.empty()) {
    if (flags.models.size() < 2 &&
        (!flags.texts.empty() || flags.tasks.tasks.empty())) {
      return absl::InvalidArgumentError(
          "an original and at least one candidate are needed (a model by "
          "itself can be asked tasks, without a text); see narrow validate "
          "--help");
    }
    options.original = flags.models.front();
    options.candidates.erase(options.candidates.begin());
  }
  for (const std::string& text : flags.texts) {
    AddText(text, &options.domains);
  }
  if (!options.base_path.empty() &&
      (!flags.texts.empty() || !flags.tasks.tasks.empty())) {
    return absl::InvalidArgumentError(
        "--base has its own text: --text and --task need the original model");
  }
  if (options.base_path.empty() && flags.texts.empty() &&
      flags.tasks.tasks.empty()) {
    return absl::InvalidArgumentError("--text or --task is needed");
  }
  ASSIGN_OR_RETURN(options.limits, LimitsFromFlags(flags.gate));
  ASSIGN_OR_RETURN(options.tasks, TaskRequestsFromFlags(flags.tasks));
  if (options.limits.any() && options.candidates.empty()) {
    return absl::InvalidArgumentError("a gate needs a candidate");
  }
  if (options.limits.min_task_delta && options.tasks.empty()) {
    return absl::InvalidArgumentError("--min-task-delta needs a --task");
  }
  if (options.early_stop && !options.limits.any()) {
    return absl::InvalidArgumentError(
        "--early-stop stops when the gate has decided, and no limit is set");
  }
  RETURN_IF_ERROR(WindowsFromFlags(flags, &options.windows));
  options.runner.precision =
      flags.precision == "exact" ? Precision::kExact : Precision::kFast;
  options.cache_bfloat16 = flags.cache_type == "bf16";
  options.checkpoint.intermediate = "exact";
  options.checkpoint.decode_quantized = true;
  options.expected_types = ExpectedTypesOf;
  options.compare_weights = flags.pages.any() || !flags.json.empty();
  RETURN_IF_ERROR(CheckPageFlags(flags.pages));
  return options;
}

// A bar for each model and text in turn.
class Bars {
 public:
  explicit Bars(bool quiet) : quiet_(quiet) {}

  void Show(const ValidationProgress& now) {
    const bool weights = now.what == "weights";
    const std::string label =
        weights ? absl::StrCat("comparing the weights of ", now.model)
                : absl::StrCat("measuring ", now.model, " on ", now.what);
    if (bar_ == nullptr || label != label_) {
      bar_.reset();  // ends its line before the next begins
      bar_ = std::make_unique<Progress>(label, weights ? "pieces" : "tokens",
                                        now.score.tokens_total, quiet_);
      label_ = label;
    }
    bar_->Set(now.score.tokens_done);
  }

 private:
  const bool quiet_;
  std::string label_;
  std::unique_ptr<Progress> bar_;
};

int ExitCodeOf(const ValidationReport& report) {
  switch (report.verdict.value_or(Verdict::kPass)) {
    case Verdict::kPass:
      return kExitOk;
    case Verdict::kUndecided:
      return kExitUndecided;
    case Verdict::kFail:
      return kExitGateFailed;
  }
  return kExitFailed;
}

void Warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
  }
}

void Print(const ValidationReport& report) {
  // A model by itself has been asked tasks alone.
  if (!report.candidates.empty()) {
    std::fputs(RenderValidation(report).c_str(), stdout);
  }
  if (!report.candidates.empty() && !report.tasks.empty()) {
    std::fputs("\n", stdout);
  }
  if (!report.tasks.empty()) {
    std::fputs(RenderTaskReports(report.tasks).c_str(), stdout);
  }
}

CommandResult Run(const Flags& flags, ValidationOptions options) {
  if (absl::Status status = CheckJsonPath(flags.json); !status.ok()) {
    return {status};
  }
  const auto device = OpenDeviceAsked(flags.device);
  if (!device.ok()) {
    return {device.status()};
  }
  options.runner.device = *device;
  options.runner.on_device_note = PrintDeviceNote;
  auto bars = std::make_unique<Bars>(flags.quiet);
  const auto report = Validate(
      options, [&bars](const ValidationProgress& now) { bars->Show(now); });
  bars.reset();
  if (!report.ok()) {
    return {report.status()};
  }
  Warn(report->warnings);
  for (const TaskReport& task : report->tasks) {
    Warn(task.warnings);
  }
  if (flags.json != "-") {
    Print(*report);
  }
  std::vector<std::string> commands;  // the candidates', as far as known
  for (const CandidateReport& candidate : report->candidates) {
    if (std::string line = MadeBy(candidate.model.path); !line.empty()) {
      commands.push_back(std::move(line));
    }
  }
  commands.push_back(flags.command_line);
  const absl::Status pages = WritePages(flags.pages, *report, commands);
  if (!pages.ok()) {
    return {pages};
  }
  TaskJsonOptions tasks;
  tasks.questions = flags.tasks.questions_in_json;
  CommandResult result;
  result.status = WriteJson(flags.json, ValidationJson(*report, tasks));
  result.verdict = ExitCodeOf(*report);
  return result;
}

void AddInputOptions(CLI::App* command, Flags* flags) {
  ValidationOptions* options = &flags->options;
  command
      ->add_option("models", flags->models,
                   "the original, then the candidates: model directories or "
                   "GGUF files (candidates alone with --base)")
      ->type_name("MODEL")
      ->required();
  command
      ->add_option("-f,--text,--file", flags->texts,
                   "text to predict, UTF-8; repeatable. Files without a name "
                   "are joined; name=FILE is a text of its own, with its own "
                   "figures and verdicts")
      ->type_name("[NAME=]FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--pre", options->checkpoint.pre_tokenizer,
                   "tokenizer.ggml.pre, where the pattern in tokenizer.json "
                   "is unknown")
      ->type_name("NAME");
}

// Where the reference comes from, and where it stays.
void AddReferenceOptions(CLI::App* command, Flags* flags) {
  ValidationOptions* options = &flags->options;
  command
      ->add_option("--base", options->base_path,
                   "in place of the original and a text: the base file that "
                   "llama-perplexity wrote with --kl-divergence-base")
      ->type_name("FILE");
  command
      ->add_option("--write-base", options->write_base_path,
                   "also write such a file, for llama-perplexity "
                   "--kl-divergence (about 2 bytes x vocabulary a token)")
      ->type_name("FILE");
  command
      ->add_option("--cache", options->cache_folder,
                   "keep the original's hidden states in this folder, so that "
                   "it need not run again for the same text and protocol")
      ->type_name("DIR");
  command
      ->add_option("--cache-type", flags->cache_type,
                   "f32 (default), or bf16: half the size, rounded")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f32", "bf16"}));
}

void AddWindowOptions(CLI::App* command, Flags* flags) {
  WindowSettings* windows = &flags->options.windows;
  command
      ->add_option("-c,--ctx,--context,--ctx-size", windows->context,
                   "tokens a window (default: 512)")
      ->type_name("N")
      ->check(CLI::Range(2, 1 << 20));
  command
      ->add_option("--chunks", windows->max_windows,
                   "measure the first N windows of each text (default: -1, "
                   "all)")
      ->type_name("N")
      ->check([](const std::string& value) {
        return value == "0" ? "no window would be scored" : "";
      });
  command
      ->add_option("--protocol", flags->protocol,
                   "llama.cpp (default): the second half of each window is "
                   "scored; huggingface: every position, or what is new with "
                   "--stride")
      ->type_name("NAME")
      ->check(CLI::IsMember({"llama.cpp", "huggingface"}));
  CLI::Option* stride =
      command
          ->add_option("--stride", windows->stride,
                       "huggingface protocol: windows advance by S tokens and "
                       "score what is new")
          ->type_name("S")
          ->check(CLI::Range(1, 1 << 20));
  command
      ->add_flag("--all-positions", flags->all_positions,
                 "the same as --protocol huggingface")
      ->excludes(stride);
}

}  // namespace

void AddValidateCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "validate",
      "judge quantized models against their original, with confidence");
  command->footer(kExamples);
  AddInputOptions(command, flags.get());
  AddReferenceOptions(command, flags.get());
  AddWindowOptions(command, flags.get());
  AddGateFlags(command, &flags->gate);
  command
      ->add_flag("--early-stop", flags->options.early_stop,
                 "stop a text as soon as every limit on it is decided; the "
                 "error rate holds all the same")
      ->group("Gate");
  AddTaskFlags(command, &flags->tasks);
  AddPageFlags(command, &flags->pages);
  command
      ->add_option("--precision", flags->precision,
                   "products in float32 (exact, default), or in bfloat16 where "
                   "the processor has them (fast)")
      ->type_name("MODE")
      ->check(CLI::IsMember({"exact", "fast"}));
  command
      ->add_option("--seed", flags->options.seed,
                   "of the resampling behind intervals (default: 0)")
      ->type_name("N");
  command->add_flag("-q,--quiet", flags->quiet, "no progress");
  AddThreadsOption(command, &flags->options.runner.n_threads);
  AddDeviceOption(command, &flags->device, "; the report and JSON name it");
  AddJsonOption(command, &flags->json);
  command->callback([flags, result, command] {
    flags->command_line =
        CommandLine(*command, {"--html", "--markdown", "--title", "--json",
                               "--quiet", "--threads", "--cache"});
    const auto checked = OptionsFromFlags(*flags);
    *result = checked.ok() ? Run(*flags, *checked)
                           : CommandResult{checked.status(), kExitUsage};
  });
}

}  // namespace narrow
