// narrow imatrix: the importance matrix of a model over a text, or several
// such matrices as one.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "calibration/importance/collect_importance.h"
#include "calibration/importance/importance_coverage.h"
#include "calibration/importance/importance_statistics.h"
#include "calibration/importance/importance_sums.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/signals.h"
#include "converter/imatrix_report.h"
#include "converter/progress.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/importance/importance_report.h"
#include "validate/text.h"
#include "validate/windows.h"

namespace narrow {
namespace {

constexpr char kExamples[] =
    R"(Windows are those of llama-imatrix: 512 tokens, none
overlapping, each beginning with BOS if the vocabulary has it so; what is left at
the end is dropped. All tokens count. A run that is stopped goes on where it
was when the same command is given again.

Examples:
  narrow imatrix gemma-3-270m --text calibration.txt --out imatrix.gguf
  narrow imatrix model.gguf --text a.txt --text b.txt --chunks 200 \
      --process-output --out imatrix.gguf
  narrow imatrix --combine a.gguf --combine b.dat --out both.gguf
  narrow imatrix --show imatrix.gguf
  narrow convert gemma-3-270m --to Q4_K_M --imatrix imatrix.gguf)";

struct Flags {
  std::string shown;
  std::string picture;
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::string> combined;
  std::string out;
  std::string format;
  WindowSettings windows;
  int64_t from_chunk = 0;
  bool parse_special = false;
  std::string precision = "fast";
  std::string device;
  CheckpointOptions checkpoint;
  ImportanceOptions options;
  bool quiet = false;
  std::string json;
};

absl::Status CheckFlags(const Flags& flags) {
  if (!flags.shown.empty()) {
    return flags.out.empty() && flags.texts.empty() && flags.combined.empty() &&
                   flags.model.empty()
               ? absl::OkStatus()
               : absl::InvalidArgumentError(
                     "--show only shows a matrix; make it first, then show it");
  }
  if (!flags.picture.empty()) {
    return absl::InvalidArgumentError("--picture is of what --show shows");
  }
  if (flags.out.empty()) {
    return absl::InvalidArgumentError("--out names no file to write");
  }
  if (flags.texts.empty() && flags.combined.empty()) {
    return absl::InvalidArgumentError(
        "there is neither a --text to run the model over nor a matrix to "
        "--combine");
  }
  if (!flags.texts.empty() && flags.model.empty()) {
    return absl::InvalidArgumentError("no model is named to run over --text");
  }
  if (flags.json == flags.out) {
    return absl::InvalidArgumentError(
        absl::StrCat("--json and --out are one file, ", flags.out));
  }
  return CheckWindowSettings(flags.windows);
}

// The output replaces an importance matrix, but no model or text that was
// named by mistake.
absl::Status CheckOutput(const std::string& path) {
  if (FileExists(path) && !IsSpecialFile(path)) {
    ASSIGN_OR_RETURN(const auto old, MappedFile::Open(path));
    if (!old->bytes().empty() && !ReadImportanceSums(path).ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--out would replace ", path,
          ", which is no importance matrix; name another file, or remove it"));
    }
  }
  return Annotate(OutputFile::Create(path).status(), "--out");
}

// Several matrices as one; nothing if none is named.
absl::StatusOr<std::optional<ImportanceCollection>> ReadCombined(
    const Flags& flags) {
  std::optional<ImportanceCollection> all;
  for (const std::string& path : flags.combined) {
    ASSIGN_OR_RETURN(ImportanceCollection one, ReadImportanceSums(path));
    if (one.chunk_size > 0 && one.chunk_size != flags.windows.context) {
      std::fprintf(stderr,
                   "narrow: warning: %s has chunks of %lld tokens; they are "
                   "counted anew in chunks of %lld\n",
                   path.c_str(), static_cast<long long>(one.chunk_size),
                   static_cast<long long>(flags.windows.context));
    }
    // A legacy file counts chunks, of a size that it does not say.
    SetChunkSize(flags.windows.context, &one);
    if (!all.has_value()) {
      all.emplace();
      all->chunk_size = flags.windows.context;
      all->path = path;
    }
    RETURN_IF_ERROR(AddImportance(one, &*all));
  }
  return all;
}

struct CalibrationText {
  std::vector<int32_t> ids;  // of the windows that are run
  std::optional<int32_t> window_bos;
  std::vector<std::string> warnings;
};

absl::StatusOr<CalibrationText> Tokenize(const Flags& flags,
                                         const Checkpoint& model) {
  ASSIGN_OR_RETURN(const JudgedText text, ReadText(flags.texts));
  ASSIGN_OR_RETURN(
      TextTokens tokens,
      TokenizeText(model, Protocol::kLlamaCpp, text.text, flags.parse_special));
  const int64_t n_all = static_cast<int64_t>(tokens.ids.size());
  const int64_t n_skipped =
      std::min(n_all, flags.from_chunk * flags.windows.context);
  const auto windows = PlanWindows(n_all - n_skipped, flags.windows);
  if (!windows.ok()) {
    return Annotate(windows.status(),
                    absl::StrCat(n_skipped > 0 ? "after --from-chunk; reading "
                                               : "reading ",
                                 flags.texts.front()));
  }
  CalibrationText result;
  const auto begin = tokens.ids.begin() + n_skipped;
  const int64_t n_used =
      static_cast<int64_t>(windows->size()) * flags.windows.context;
  result.ids.assign(begin, begin + n_used);
  result.window_bos = tokens.window_bos;
  result.warnings = text.warnings;
  return result;
}

absl::StatusOr<CollectedImportance> Collect(const Flags& flags,
                                            const Checkpoint& model) {
  ASSIGN_OR_RETURN(const CalibrationText text, Tokenize(flags, model));
  ImportanceOptions options = flags.options;
  options.window_tokens = flags.windows.context;
  options.first_window = flags.from_chunk;
  options.state_path = absl::StrCat(flags.out, ".state");
  options.runner.precision =
      flags.precision == "exact" ? Precision::kExact : Precision::kFast;
  ASSIGN_OR_RETURN(options.runner.device, OpenDeviceAsked(flags.device));
  options.runner.on_device_note = PrintDeviceNote;
  options.cancelled = CatchSignals();
  Progress progress("collecting", "tokens",
                    static_cast<int64_t>(text.ids.size()), flags.quiet);
  ASSIGN_OR_RETURN(
      CollectedImportance collected,
      CollectImportance(
          model, text.ids, text.window_bos, options, [&](double windows) {
            progress.Set(static_cast<int64_t>(
                windows * static_cast<double>(options.window_tokens)));
          }));
  progress.Finish();
  collected.sums.datasets = flags.texts;
  collected.sums.path = absl::StrCat("this run of ", model.path());
  collected.warnings.insert(collected.warnings.begin(), text.warnings.begin(),
                            text.warnings.end());
  return collected;
}

absl::Status WriteMatrix(const Flags& flags, const ImportanceCollection& sums) {
  const bool dat = flags.format.empty() ? absl::EndsWith(flags.out, ".dat")
                                        : flags.format == "dat";
  RETURN_IF_ERROR(dat ? WriteImportanceDat(sums, flags.out)
                      : WriteImportanceGguf(sums, flags.out));
  return RemoveImportanceState(absl::StrCat(flags.out, ".state"));
}

// What the files to combine and the text give together.
absl::StatusOr<ImatrixOutcome> Make(const Flags& flags) {
  ImatrixOutcome outcome;
  outcome.out = flags.out;
  outcome.combined = flags.combined;
  ASSIGN_OR_RETURN(auto combined, ReadCombined(flags));
  std::unique_ptr<Checkpoint> model;
  if (!flags.model.empty()) {
    ASSIGN_OR_RETURN(model, Checkpoint::Open(flags.model, flags.checkpoint));
    if (combined.has_value()) {
      RETURN_IF_ERROR(CheckIsOfModel(*model, *combined));
    }
  }
  if (!flags.texts.empty()) {
    ASSIGN_OR_RETURN(outcome.collected, Collect(flags, *model));
    for (const std::string& warning : outcome.collected->warnings) {
      std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
    }
  }
  if (!combined.has_value()) {
    outcome.sums = outcome.collected->sums;
  } else {
    outcome.sums = *std::move(combined);
    if (outcome.collected.has_value()) {
      RETURN_IF_ERROR(AddImportance(outcome.collected->sums, &outcome.sums));
    }
  }
  outcome.coverage = CoverageOf(outcome.sums);
  if (model != nullptr) {
    outcome.without_entry = TensorsWithoutEntry(*model, outcome.sums);
  }
  return outcome;
}

// The picture lies beside the matrix unless a place, or "none", is given.
std::string PicturePath(const Flags& flags) {
  if (!flags.picture.empty()) {
    return flags.picture == "none" ? "" : flags.picture;
  }
  absl::string_view stem = flags.shown;
  if (!absl::ConsumeSuffix(&stem, ".gguf")) {
    absl::ConsumeSuffix(&stem, ".dat");
  }
  return absl::StrCat(stem, ".svg");
}

// A picture replaces an older one, but no matrix or text named by mistake.
absl::Status CheckPicture(const std::string& path, const std::string& json) {
  if (path.empty()) {
    return absl::OkStatus();
  }
  if (!json.empty() && SameFile(path, json)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--picture and --json are one file, ", path));
  }
  if (FileExists(path) && !IsSpecialFile(path)) {
    ASSIGN_OR_RETURN(const auto old, MappedFile::Open(path));
    constexpr absl::string_view kBegin = "<svg";
    const absl::string_view bytes(
        reinterpret_cast<const char*>(old->bytes().data()),
        old->bytes().size());
    if (!bytes.empty() && !absl::StartsWith(bytes, kBegin)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--picture would replace ", path,
                       ", which is no picture of this program; name another "
                       "file, or remove it"));
    }
  }
  return Annotate(OutputFile::Create(path).status(), "--picture");
}

absl::Status Show(const Flags& flags) {
  const std::string path = PicturePath(flags);
  RETURN_IF_ERROR(CheckPicture(path, flags.json));
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const ImportanceCollection sums,
                   ReadImportanceSums(flags.shown));
  const ImportanceStatistics statistics = StatisticsOf(sums);
  if (!path.empty()) {
    RETURN_IF_ERROR(WriteTextFile(path, ImportancePicture(sums, statistics)));
  }
  if (flags.json != "-") {
    std::fputs(ImportanceTables(statistics).c_str(), stdout);
    if (!path.empty() && !flags.quiet) {
      std::printf("\npicture in %s\n", path.c_str());
    }
  }
  return WriteJson(flags.json, ImportanceStatisticsJson(sums, statistics));
}

absl::Status Run(const Flags& flags) {
  if (!flags.shown.empty()) {
    return Show(flags);
  }
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  RETURN_IF_ERROR(CheckOutput(flags.out));
  ASSIGN_OR_RETURN(const ImatrixOutcome outcome, Make(flags));
  RETURN_IF_ERROR(WriteMatrix(flags, outcome.sums));
  if (!flags.quiet && flags.json != "-") {
    std::fputs(ImatrixSummary(outcome).c_str(), stdout);
  }
  return WriteJson(flags.json, ImatrixJson(outcome));
}

// What --combine alone and --show have no use for needs `text`.
void AddWindowOptions(CLI::App* command, CLI::Option* text, Flags* flags) {
  command
      ->add_option("-c,--context,--ctx-size", flags->windows.context,
                   "tokens a window (default: 512)")
      ->type_name("N")
      ->check(CLI::Range(3, 1 << 20));
  command
      ->add_option("--chunks", flags->windows.max_windows,
                   "run the first N windows (default: -1, all)")
      ->type_name("N")
      ->needs(text)
      ->check([](const std::string& value) {
        return value == "0" ? "no window would be run" : "";
      });
  command
      ->add_option("--from-chunk,--chunk", flags->from_chunk,
                   "leave out the first N windows of the text")
      ->type_name("N")
      ->needs(text)
      ->check(CLI::Range(0, 1 << 30));
  command
      ->add_flag("--parse-special", flags->parse_special,
                 "special tokens written in the text are special")
      ->needs(text);
}

void AddRunOptions(CLI::App* command, CLI::Option* text, Flags* flags) {
  command
      ->add_flag("--process-output", flags->options.output_matrix,
                 "also the output matrix (token_embd.weight where the "
                 "embedding serves as such)")
      ->needs(text);
  command
      ->add_flag("--ppl", flags->options.perplexity,
                 "also print the text's perplexity, as llama-imatrix does "
                 "unless told not to; it can double the time")
      ->needs(text);
  command
      ->add_option("--group", flags->options.group_windows,
                   "windows that go through a block together, at most "
                   "(default: as many as 256 MiB hold and a minute takes)")
      ->type_name("N")
      ->needs(text)
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--save-every", flags->options.save_seconds,
                   "keep intermediate results in OUT.state about every so "
                   "many seconds (default: 60)")
      ->type_name("SECONDS")
      ->needs(text)
      ->check(CLI::Range(0.0, 1e6))
      // Comparisons let it through.
      ->check([](const std::string& value) {
        double seconds;
        return absl::SimpleAtod(value, &seconds) && std::isnan(seconds)
                   ? "not a number"
                   : "";
      });
  command
      ->add_option("--precision", flags->precision,
                   "products in bfloat16 where the processor has them (fast, "
                   "default) or in float32 (exact)")
      ->type_name("MODE")
      ->needs(text)
      ->check(CLI::IsMember({"fast", "exact"}));
  command
      ->add_option("--pre", flags->checkpoint.pre_tokenizer,
                   "tokenizer.ggml.pre, where the pattern in tokenizer.json "
                   "is unknown")
      ->type_name("NAME");
  command->add_flag("--decode-quantized", flags->checkpoint.decode_quantized,
                    "open a directory that is quantized already: its weights "
                    "are decoded");
}

}  // namespace

void AddImatrixCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  // The weights as they are, as for perplexity.
  flags->checkpoint.intermediate = "exact";
  CLI::App* command = app->add_subcommand(
      "imatrix", "measure which inputs of each weight matrix matter");
  command->footer(kExamples);
  CLI::Option* model =
      command->add_option("-m,--model,model", flags->model,
                          "model directory or GGUF file of any type");
  CLI::Option* text =
      command
          ->add_option("-f,--text,--file", flags->texts,
                       "text to run the model over, UTF-8; repeatable, files "
                       "are joined")
          ->type_name("FILE")
          ->allow_extra_args(false);
  command
      ->add_option("--combine,--in-file", flags->combined,
                   "add an importance matrix made before, .gguf or .dat; "
                   "repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false);
  CLI::Option* out =
      command->add_option("-o,--out", flags->out, "the file to write")
          ->type_name("FILE");
  command
      ->add_option("--format,--output-format", flags->format,
                   "gguf, or llama.cpp's older dat (default: dat if --out "
                   "ends with .dat)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"gguf", "dat"}))
      ->needs(out);
  CLI::Option* show =
      command
          ->add_option("--show,--show-statistics", flags->shown,
                       "print a matrix's statistics by tensor and by layer, "
                       "and draw them")
          ->type_name("FILE");
  command
      ->add_option("--picture", flags->picture,
                   "where --show draws, SVG (default: beside FILE), or none")
      ->type_name("FILE");
  AddWindowOptions(command, text, flags.get());
  AddRunOptions(command, text, flags.get());
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->options.runner.n_threads);
  AddDeviceOption(command, &flags->device);
  AddJsonOption(command, &flags->json);
  for (const char* name : {"--context", "--pre", "--threads", "--device"}) {
    command->get_option(name)->excludes(show);
  }
  command->get_option("--pre")->needs(model);
  command->callback([flags, result] {
    const absl::Status checked = CheckFlags(*flags);
    *result = checked.ok() ? CommandResult{Run(*flags)}
                           : CommandResult{checked, kExitUsage};
  });
}

}  // namespace narrow
