// narrow batch: a release of models, made and measured in one go.

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/batch/batch_pages.h"
#include "converter/batch/batch_report.h"
#include "converter/batch/batch_run.h"
#include "converter/batch/release_file.h"
#include "converter/batch/target/validate_target.h"
#include "converter/commands/batch_solver.h"
#include "converter/commands/command.h"
#include "converter/commands/expected_types.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/progress.h"
#include "converter/provenance/made_by.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "kernels/device.h"

namespace narrow {
namespace {

constexpr char kExamples[] =
    R"(A release file, protobuf text; paths are relative to it:
  out: "release"
  model { path: "models/gemma-3-270m" imatrix: "gemma.imatrix.gguf" }
  model { path: "models/qwen3-0.6b" target { to: "Q8_0" } }
  target { to: "Q8_0" }                          # of models without their own
  target { to: "Q4_K_M" }
  target { to: "IQ3_XXS" name: "IQ3" }
  target { recipe { rule { method: "hqq" bits: 4 } } }
  target { to: "Q3_K_M" name: "Q3_K_M-solved" solver: "compensated" }
  calibration { file: "calibration.txt" samples: 128 }  # of solvers
  validation {
    text { name: "wiki" file: "wiki.test.raw" }
    chunks: 40  max_kld: 0.05  max_ppl_delta: 0.02
  }

All file types of a model are written in one read of it; those that are solved
share the reverse pass, and with solver_options { order: "one-shot" } all
statistics. What a run before has
made is checked by its hashes and not made again; a run that is stopped or
killed goes on when the same command is given again. A target that fails does
not stop the others. OUT/report.json is the same for any interruptions; so are
report.html and report.md, the measured targets side by side (of several models
report-MODEL.html and .md).

Exit codes: 0 all made, and within the limits; 1 something failed, or the
release file is wrong; 2 usage; 3 a limit is exceeded; 4 a limit needs more
text to decide. The table and the report say which.

Examples:
  narrow batch release.textproto
  narrow batch release.textproto --check --json plan.json)";

struct Flags {
  std::string release;
  bool check = false;
  bool replace = false;
  bool manifest = true;
  bool quiet = false;
  int n_threads = 0;
  std::string device;
  std::string json;
};

absl::Status PrintPlan(const ReleasePlan& plan) {
  for (const PlannedModel& model : plan.models) {
    for (const PlannedTarget& target : model.targets) {
      std::printf("%s %s: %s%s\n", OneLine(model.name).c_str(),
                  OneLine(target.name).c_str(), OneLine(target.output).c_str(),
                  model.validation.has_value() ? ", validated" : "");
    }
  }
  return absl::OkStatus();
}

// Of the command as it would be given by itself, parsed and not run.
absl::StatusOr<ProvenanceRequest> ProvenanceOfWords(
    const std::vector<std::string>& words, int n_threads) {
  CLI::App app;
  CommandResult unused;
  (words.front() == "convert" ? AddConvertCommand : AddQuantizeCommand)(
      &app, &unused);
  // The command's own callback would run it; it owns what options fill.
  app.parse_complete_callback([] { throw CLI::Success(); });
  // CLI11 takes them from the end, and throws.
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::Success&) {
    return ProvenanceOf(*app.get_subcommands({}).front(), true, n_threads);
  } catch (const CLI::ParseError& error) {
    return absl::InternalError(
        absl::StrCat("the manifest's command does not parse: ", error.what()));
  }
  return absl::InternalError("the manifest's command did not stop");
}

// Measures a target, with a bar.
absl::StatusOr<RecordedValidation> ValidateShown(
    const std::string& original, const PlannedTarget& target,
    const ReleaseValidation& settings, const std::string& cache,
    const RunnerOptions& runner, bool quiet) {
  std::unique_ptr<Progress> bar;
  int64_t total = -1;
  return ValidateTarget(
      original, target, settings, cache, runner, ExpectedTypesOf,
      [&](const ValidationProgress& now) {
        if (bar == nullptr || total != now.score.tokens_total) {
          bar.reset();
          bar = std::make_unique<Progress>("measuring", "tokens",
                                           now.score.tokens_total, quiet);
          total = now.score.tokens_total;
        }
        bar->Set(now.score.tokens_done);
      });
}

BatchOptions OptionsFromFlags(const Flags& flags,
                              const std::optional<Device>& device) {
  BatchOptions options;
  options.n_threads = flags.n_threads;
  options.device = device;
  options.on_device_note = PrintDeviceNote;
  options.replace = flags.replace;
  options.cancelled = CatchSignals();
  if (!flags.quiet) {
    options.log = [](absl::string_view line) {
      std::fprintf(stderr, "narrow: %s\n", OneLine(line).c_str());
    };
  }
  const int n_threads = flags.n_threads;
  if (flags.manifest) {
    options.provenance = [n_threads](const std::vector<std::string>& words) {
      return ProvenanceOfWords(words, n_threads);
    };
  }
  SolvedJob job;
  job.n_threads = n_threads;
  job.device = device;
  job.quiet = flags.quiet;
  job.cancelled = options.cancelled;
  options.solve = [job](const SolveTargetsRequest& request) {
    return SolveBatchTargets(request, job);
  };
  RunnerOptions runner;
  runner.n_threads = n_threads;
  runner.device = device;
  runner.on_device_note = PrintDeviceNote;
  options.validate =
      [runner, quiet = flags.quiet](
          const std::string& original, const PlannedTarget& target,
          const ReleaseValidation& settings, const std::string& cache) {
        return ValidateShown(original, target, settings, cache, runner, quiet);
      };
  return options;
}

// Options of solvers, before hours go into the first target.
absl::Status CheckSolvers(const ReleasePlan& plan, const std::string& path) {
  for (const PlannedModel& model : plan.models) {
    for (const PlannedTarget& target : model.targets) {
      if (!target.solver.empty()) {
        RETURN_IF_ERROR(Annotate(
            CheckSolverWords(target.solver),
            absl::StrCat("target ", QuotedName(target.name), " of model ",
                         QuotedName(model.name), "; reading ", path)));
      }
    }
  }
  return absl::OkStatus();
}

CommandResult Run(const Flags& flags) {
  absl::Status status = CheckJsonPath(flags.json);
  if (!status.ok()) {
    return {status};
  }
  const auto plan = ReadRelease(flags.release);
  if (!plan.ok()) {
    return {plan.status()};
  }
  status = CheckSolvers(*plan, flags.release);
  if (!status.ok()) {
    return {status};
  }
  if (flags.check) {
    return {PrintPlan(*plan)};
  }
  const auto device = OpenDeviceAsked(flags.device);
  if (!device.ok()) {
    return {device.status()};
  }
  const BatchOutcome outcome =
      RunBatch(*plan, OptionsFromFlags(flags, *device));
  if (flags.json != "-") {
    std::fputs(BatchTable(outcome).c_str(), stdout);
  }
  if (outcome.cancelled) {
    return {
        absl::CancelledError("stopped; the same command goes on where it was")};
  }
  const std::string json = BatchJson(outcome);
  status = WriteTextFile(JoinPath(plan->out, "report.json"), json + "\n");
  if (status.ok()) {
    status = WriteBatchPages(outcome, plan->out,
                             CommandText({"batch", flags.release}));
  }
  if (status.ok()) {
    status = WriteJson(flags.json, json);
  }
  const BatchCounts counts = CountOutcome(outcome);
  if (status.ok() && counts.n_errors > 0) {
    status = absl::UnknownError(absl::StrCat(counts.n_errors, " of ",
                                             counts.n_targets,
                                             " targets failed; see above"));
  }
  CommandResult result;
  result.status = status;
  result.verdict = counts.n_gate_failed > 0 ? kExitGateFailed
                   : counts.n_undecided > 0 ? kExitUndecided
                                            : kExitOk;
  return result;
}

}  // namespace

void AddBatchCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "batch", "make and measure a release: many models, many targets");
  command->footer(kExamples);
  command
      ->add_option("release", flags->release, "what to make, as protobuf text")
      ->type_name("FILE")
      ->required();
  command->add_flag("--check", flags->check,
                    "read the release file, list what would be made, and "
                    "stop");
  command->add_flag("--replace", flags->replace,
                    "replace outputs that are there and that no run of a "
                    "release made");
  AddManifestFlag(command, &flags->manifest);
  command->add_flag("-q,--quiet", flags->quiet, "no progress");
  AddThreadsOption(command, &flags->n_threads);
  AddDeviceOption(command, &flags->device,
                  "; files are the same, reports name it");
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { *result = Run(*flags); });
}

}  // namespace narrow
