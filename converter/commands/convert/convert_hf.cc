#include "converter/commands/convert/convert_hf.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/hf/hf_export.h"
#include "converter/progress.h"
#include "converter/provenance/recorder.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

// Options of `narrow convert` that a directory heeds.
constexpr const char* kHeeded[] = {
    "model",        "--to",    "--out",     "--dtype", "--max-shard-size",
    "--dry-run",    "--quiet", "--threads", "--json",  "--help",
    "--no-manifest"};
constexpr const char* kHfOnly[] = {"--dtype", "--max-shard-size"};

bool IsOneOf(const CLI::Option& option, absl::Span<const char* const> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return option.check_name(name); });
}

absl::Status CheckOptions(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0 && !IsOneOf(*option, kHeeded)) {
      return absl::InvalidArgumentError(
          absl::StrCat(option->get_name(),
                       " means nothing for a Hugging Face directory (--to "
                       "hf), whose tensors are not quantized"));
    }
  }
  return absl::OkStatus();
}

// "model-Q4_K_M-hf" for "models/model-Q4_K_M.gguf".
std::string DefaultFolder(const std::string& model) {
  const std::filesystem::path path =
      std::filesystem::absolute(model).lexically_normal();
  return absl::StrCat(path.stem().string(), "-hf");
}

std::string Json(const HfRequest& request, const std::string& out,
                 const HfExport& plan, double seconds) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("output").String(out);
  json.Key("dry_run").Bool(request.dry_run);
  json.Key("dtype").String(TorchName(plan.dtype));
  json.Key("tensor_bytes").Integer(plan.n_bytes);
  json.Key("weights").Integer(plan.n_weights);
  json.Key("files").BeginArray();
  for (const auto& [name, contents] : plan.files) {
    json.String(name);
  }
  json.EndArray();
  json.Key("tensors").BeginArray();
  for (const DisassembledTensor& tensor : plan.tensors) {
    json.BeginObject();
    json.Key("name").String(tensor.meta.name);
    json.Key("shape").BeginArray();
    for (const int64_t n : tensor.meta.shape) json.Integer(n);
    json.EndArray();
    json.Key("source").String(tensor.source->meta.name);
    json.Key("source_type").String(TypeName(tensor.source->meta.type));
    json.EndObject();
  }
  json.EndArray();
  json.Key("warnings").BeginArray();
  for (const std::string& warning : plan.warnings) json.String(warning);
  json.EndArray();
  json.Key("seconds").Number(seconds);
  json.EndObject();
  return json.text();
}

void PrintTensors(const HfExport& plan) {
  for (const DisassembledTensor& tensor : plan.tensors) {
    absl::PrintF("%-60s %-18s from %s\n", OneLine(tensor.meta.name),
                 ShapeString(tensor.meta.shape),
                 TypeName(tensor.source->meta.type));
  }
}

absl::Status Write(const CLI::App& command, const Checkpoint& model,
                   const HfExport& plan, const std::string& out,
                   const HfRequest& request) {
  const auto recorder = ProvenanceRecorder::Begin(
      ProvenanceOf(command, request.manifest, request.n_threads));
  Progress progress("writing", "B", plan.n_bytes, request.quiet);
  PipelineOptions options;
  options.n_threads = request.n_threads;
  options.on_progress = [&progress](int64_t n) { progress.Add(n); };
  options.cancelled = request.cancelled;
  return WriteHfExport(model, plan, out, options,
                       [&](const std::string& folder) {
                         return recorder->WriteInto(folder, out, {});
                       });
}

absl::Status Run(const CLI::App& command, const HfRequest& request,
                 const HfExportOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckJsonPath(request.json));
  const std::string out =
      request.out.empty() ? DefaultFolder(request.model) : request.out;
  if (!request.json.empty() && SameFile(request.json, out)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output ", out, " is also the file of --json; choose another"));
  }
  ASSIGN_OR_RETURN(const auto model, Checkpoint::Open(request.model, {}));
  ASSIGN_OR_RETURN(const HfExport plan, PlanHfExport(*model, options));
  for (const std::string& warning : plan.warnings) {
    std::fprintf(stderr, "narrow: warning: %s\n", OneLine(warning).c_str());
  }
  if (request.dry_run) {
    if (request.json != "-") {
      PrintTensors(plan);
    }
  } else {
    RETURN_IF_ERROR(Write(command, *model, plan, out, request));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!request.quiet && request.json != "-") {
    absl::PrintF(
        "%s: %d tensors as %s, %s%s\n", out, plan.tensors.size(),
        TorchName(plan.dtype), FormatBytes(plan.n_bytes),
        request.dry_run ? " (not written)" : " in " + FormatDuration(seconds));
  }
  return WriteJson(request.json, Json(request, out, plan, seconds));
}

}  // namespace

void AddHfOptions(CLI::App* command, HfFlags* flags) {
  command
      ->add_option("--dtype", flags->dtype,
                   "with --to hf: type of all tensors (auto: that of the "
                   "matrices which are not quantized, else bf16)")
      ->check(CLI::IsMember({"auto", "bf16", "f16", "f32"}))
      ->capture_default_str();
  command
      ->add_option("--max-shard-size", flags->max_shard_size,
                   "with --to hf: most bytes of tensors in one file")
      ->type_name("SIZE")
      ->capture_default_str();
}

bool IsHfTarget(absl::string_view to) {
  return absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(to), "hf");
}

absl::Status CheckNoHfOptions(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0 && IsOneOf(*option, kHfOnly)) {
      return absl::InvalidArgumentError(absl::StrCat(
          option->get_name(), " is for Hugging Face directories (--to hf)"));
    }
  }
  return absl::OkStatus();
}

CommandResult ConvertToHf(const CLI::App& command, const HfRequest& request) {
  const absl::Status usage = CheckOptions(command);
  if (!usage.ok()) {
    return {usage, kExitUsage};
  }
  const absl::StatusOr<int64_t> max_bytes =
      ParseByteSize(request.hf.max_shard_size, "--max-shard-size");
  if (!max_bytes.ok()) {
    return {max_bytes.status(), kExitUsage};
  }
  HfExportOptions options;
  options.dtype = request.hf.dtype;
  options.max_shard_bytes = *max_bytes;
  return {Run(command, request, options)};
}

}  // namespace narrow
