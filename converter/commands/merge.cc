// narrow merge: the parts of a sharded conversion to GGUF files, or to a packed
// directory.

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/packed/packed_parts_command.h"
#include "converter/commands/signals.h"
#include "converter/parts/merge_parts.h"
#include "converter/parts/packed_part.h"
#include "converter/progress.h"
#include "converter/provenance/digest_files.h"
#include "converter/provenance/recorder.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  for k in 1 2 3 4; do
    narrow convert models/gemma-3-270m --to Q4_K_M --shard $k/4 --out part-$k
  done
  narrow merge part-1 part-2 part-3 part-4 --out gemma-3-270m-Q4_K_M.gguf

  narrow quantize models/gemma-3-270m --method hqq --shard 1/2 --out part-1
  narrow quantize models/gemma-3-270m --method hqq --shard 2/2 --out part-2
  narrow merge part-1 part-2 --out gemma-3-270m-hqq

The parts, in any order, must be of one plan: the same model, flags and
version of narrow. The file has the bytes that a run without --shard writes.
Parts of narrow quantize have the quantized layers; all else is read from the
model, which is looked for where they found it (--model).
GGUF shards are put together by narrow convert FIRST-SHARD --to COPY.)";

struct Flags {
  std::vector<std::string> parts;
  std::string out;
  std::string model;  // of packed parts
  bool quiet = false;
  bool manifest = true;
  int n_threads = 0;
  std::string json;
};

std::vector<std::string> FilesOf(const MergedParts& merged,
                                 const std::string& out) {
  std::vector<std::string> files;
  for (size_t i = 0; i < merged.files.size(); ++i) {
    files.push_back(FilePath(out, merged.split, i, merged.files.size()));
  }
  return files;
}

absl::Status CheckOutputs(const std::vector<std::string>& files,
                          const Flags& flags) {
  for (const std::string& file : files) {
    for (const std::string& part : flags.parts) {
      if (SameFile(file, part)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "output ", file, " is one of the parts; choose another --out"));
      }
    }
    if (!flags.json.empty() && SameFile(file, flags.json)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "output ", file, " is also the file of --json; choose another"));
    }
  }
  return absl::OkStatus();
}

std::string Json(const MergedParts& merged,
                 const std::vector<std::string>& files, double seconds) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("parts").Integer(static_cast<int64_t>(merged.parts.size()));
  json.Key("version").String(merged.version);
  json.Key("model_sha256").String(merged.model.sha256.Hex());
  json.Key("tensors").Integer(static_cast<int64_t>(merged.tensors.size()));
  json.Key("files").BeginArray();
  for (size_t i = 0; i < files.size(); ++i) {
    json.BeginObject();
    json.Key("path").String(files[i]);
    json.Key("bytes").Integer(merged.files[i].n_bytes);
    json.EndObject();
  }
  json.EndArray();
  json.Key("seconds").Number(seconds);
  json.EndObject();
  return json.text();
}

// That of the run whose parts they are: the same bytes, the same recipe.
absl::StatusOr<ProvenanceRequest> ProvenanceOfParts(const MergedParts& merged,
                                                    const Flags& flags) {
  ProvenanceRequest request;
  request.on = flags.manifest;
  request.n_threads = flags.n_threads;
  for (const PartFile& part : merged.parts) {
    request.n_parts += part.description().index() > 0 ? 1 : 0;
  }
  provenance::Manifest made;
  if (!made.ParseFromString(merged.provenance)) {
    return absl::DataLossError(absl::StrCat(
        "the provenance of the parts does not parse; make part 1 again; "
        "reading ",
        merged.parts.front().path()));
  }
  request.command = made.command();
  request.arguments.assign(made.arguments().begin(), made.arguments().end());
  for (const provenance::Setting& setting : made.recipe()) {
    request.recipe.emplace_back(setting.name(), setting.value());
  }
  request.used.assign(made.used().begin(), made.used().end());
  provenance::Model input = ModelOf(merged.model);
  input.set_role("original");
  for (const provenance::Model& model : made.inputs()) {
    input.set_path(model.path());
  }
  request.hashed.push_back(std::move(input));
  return request;
}

absl::Status MergeGguf(const Flags& flags) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const MergedParts merged, OpenParts(flags.parts));
  const std::vector<std::string> files = FilesOf(merged, flags.out);
  RETURN_IF_ERROR(CheckOutputs(files, flags));
  int64_t n_bytes = 0;
  for (const TensorMeta& meta : merged.tensors) {
    n_bytes += 2 * meta.n_bytes();  // checked, then written
  }
  Progress progress("merging", "B", n_bytes, flags.quiet);
  MergeOptions options;
  options.n_threads = flags.n_threads;
  options.on_progress = [&progress](int64_t n) { progress.Add(n); };
  options.cancelled = CatchSignals();
  ASSIGN_OR_RETURN(ProvenanceRequest provenance,
                   ProvenanceOfParts(merged, flags));
  const auto recorder = ProvenanceRecorder::Begin(std::move(provenance));
  RETURN_IF_ERROR(WriteMerged(merged, flags.out, options));
  RETURN_IF_ERROR(recorder->WriteBeside(files.front(), {}));
  progress.Finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!flags.quiet && flags.json != "-") {
    for (size_t i = 0; i < files.size(); ++i) {
      absl::PrintF("wrote %s: %d bytes (%s) of %d parts\n", files[i],
                   merged.files[i].n_bytes,
                   FormatBytes(merged.files[i].n_bytes), merged.parts.size());
    }
    absl::PrintF("in %s\n", FormatDuration(seconds));
  }
  return WriteJson(flags.json, Json(merged, files, seconds));
}

absl::Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const bool packed, PackedParts::IsOne(flags.parts.front()));
  if (!packed) {
    return flags.model.empty()
               ? MergeGguf(flags)
               : absl::InvalidArgumentError(
                     "--model is of parts of narrow quantize; these have all "
                     "that the file has");
  }
  PackedMergeJob job;
  job.parts = flags.parts;
  job.model = flags.model;
  job.out = flags.out;
  job.manifest = flags.manifest;
  job.quiet = flags.quiet;
  job.n_threads = flags.n_threads;
  job.json = flags.json;
  return MergePackedParts(job);
}

}  // namespace

void AddMergeCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "merge", "put the parts of convert or quantize --shard together");
  command->footer(kExamples);
  command
      ->add_option("parts", flags->parts,
                   "files of convert or quantize --shard K/N, or of convert "
                   "--plan with head.plan")
      ->type_name("PART")
      ->required();
  command
      ->add_option("-o,--out", flags->out,
                   "file to write; of a split output, the prefix of its "
                   "shards; of parts of quantize, the directory")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--model", flags->model,
                   "of parts of quantize: the model they were made of")
      ->type_name("DIR");
  AddManifestFlag(command, &flags->manifest);
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { result->status = Run(*flags); });
}

}  // namespace narrow
