// narrow verify: whether an output is what its manifest says, and whether it
// comes from its original.

#include "converter/provenance/verify.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "converter/commands/command.h"
#include "converter/commands/signals.h"
#include "converter/commands/verify/rederive.h"
#include "converter/progress.h"
#include "converter/provenance/manifest.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow verify gemma-3-270m-Q4_K_M.gguf
  narrow verify gemma-gptq/
  narrow verify gemma-3-270m-Q4_K_M.gguf --rederive 8 \
      --original models/gemma-3-270m

Every file and tensor is hashed and compared with OUT.manifest.pb, or
narrow-manifest.pb in a directory. With --rederive, random tensors are made
again from the original by the command that the manifest has, and their bytes
compared; what cannot be made tensor by tensor (a calibrated run, a directory,
types for a target) is run again as a whole, in the folder for temporary files
(TMPDIR). Exit code 1 if anything differs; each difference is a line on
standard error.)";

struct Flags {
  std::string output;
  std::string manifest;
  RederiveRequest rederive;
  std::optional<uint64_t> seed;
  bool quiet = false;
  std::string json;
};

std::string Json(const Flags& flags, const VerifyResult& result,
                 const std::optional<RederiveResult>& again, double seconds) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("output").String(flags.output);
  json.Key("files").Integer(result.n_files);
  json.Key("tensors").Integer(result.n_tensors);
  json.Key("bytes").Integer(result.n_bytes);
  json.Key("differences").BeginArray();
  for (const std::string& line : result.differences) {
    json.String(line);
  }
  json.EndArray();
  if (again.has_value()) {
    json.Key("rederived").BeginObject();
    json.Key("seed").Unsigned(flags.rederive.seed);
    json.Key("whole_run").Bool(again->whole_run);
    json.Key("tensors").BeginArray();
    for (const std::string& name : again->tensors) {
      json.String(name);
    }
    json.EndArray();
    json.Key("differences").BeginArray();
    for (const std::string& line : again->differences) {
      json.String(line);
    }
    json.EndArray();
    json.EndObject();
  }
  json.Key("seconds").Number(seconds);
  json.EndObject();
  return json.text();
}

void PrintDifferences(const std::vector<std::string>& differences) {
  for (const std::string& line : differences) {
    std::fprintf(stderr, "narrow: differs: %s\n", OneLine(line).c_str());
  }
}

absl::Status Run(Flags* flags) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(flags->json));
  if (!IsDirectory(flags->output) && !FileExists(flags->output)) {
    return absl::NotFoundError(
        absl::StrCat("no such output; reading ", flags->output));
  }
  ASSIGN_OR_RETURN(
      const provenance::Manifest manifest,
      ReadManifest(flags->manifest.empty() ? ManifestPath(flags->output)
                                           : flags->manifest));
  ASSIGN_OR_RETURN(
      const VerifyResult result,
      VerifyOutputHashes(manifest, flags->output, flags->rederive.n_threads,
                         CatchSignals()));
  PrintDifferences(result.differences);
  size_t n_differences = result.differences.size();
  std::optional<RederiveResult> again;
  if (flags->rederive.n_tensors > 0) {
    flags->rederive.seed =
        flags->seed.has_value() ? *flags->seed : std::random_device()();
    ASSIGN_OR_RETURN(again, Rederive(manifest, flags->rederive));
    PrintDifferences(again->differences);
    n_differences += again->differences.size();
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!flags->quiet && flags->json != "-") {
    absl::PrintF("%s: %d files, %d tensors, %s: %s\n", flags->output,
                 result.n_files, result.n_tensors, FormatBytes(result.n_bytes),
                 result.differences.empty() ? "as the manifest says"
                                            : "not as the manifest says");
    if (again.has_value()) {
      absl::PrintF(
          "made again%s (--seed %d): %s: %s\n",
          again->whole_run ? ", in a whole run" : "", flags->rederive.seed,
          OneLine(absl::StrJoin(again->tensors, ", ")),
          again->differences.empty() ? "the same bytes" : "other bytes");
    }
    absl::PrintF("in %s\n", FormatDuration(seconds));
  }
  RETURN_IF_ERROR(WriteJson(flags->json, Json(*flags, result, again, seconds)));
  return n_differences == 0
             ? absl::OkStatus()
             : absl::DataLossError(absl::StrCat(
                   flags->output, " is not what its manifest says: ",
                   n_differences, " differences"));
}

}  // namespace

void AddVerifyCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "verify", "check an output against its manifest, and its origin");
  command->footer(kExamples);
  command
      ->add_option("output", flags->output,
                   "a file that narrow wrote, any shard of a split one, or a "
                   "directory")
      ->required();
  command
      ->add_option("--manifest", flags->manifest,
                   "its manifest without .pb (default: beside or in the "
                   "output)")
      ->type_name("FILE");
  CLI::Option* rederive =
      command
          ->add_option("--rederive", flags->rederive.n_tensors,
                       "make N random tensors again from the original and "
                       "compare their bytes")
          ->type_name("N")
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command
      ->add_option("--original", flags->rederive.original,
                   "the model that the output was made from (default: where "
                   "the manifest says that it was)")
      ->type_name("MODEL")
      ->needs(rederive);
  command
      ->add_option("--file", flags->rederive.files,
                   "an importance matrix, text or list that the manifest "
                   "names and is somewhere else now; repeatable")
      ->type_name("FILE")
      ->needs(rederive);
  command
      ->add_option("--seed", flags->seed,
                   "chooses the tensors (default: random, and printed)")
      ->type_name("S")
      ->needs(rederive);
  command->add_flag("-q,--quiet", flags->quiet, "no summary");
  AddThreadsOption(command, &flags->rederive.n_threads);
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { result->status = Run(flags.get()); });
}

}  // namespace narrow
