// narrow repack: a quantized model in another packing, nothing lost.

#include "converter/repack/repack.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/commands/signals.h"
#include "converter/progress.h"
#include "converter/provenance/recorder.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/packing.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow repack model-gptq --format compressed-tensors --out model-ct
  narrow repack model-awq --format gptq_v2 --out model-gptq
  narrow repack model-gptq --format gguf --out model-Q4_0.gguf
  narrow repack model-Q8_0.gguf --format gptq --out model-gptq --allow-dense

Directory to directory, directory to GGUF (q4_0, q4_1, q8_0, mxfp4), and back.
What would change a weight is refused, with the layer and the reason.)";

constexpr char kGguf[] = "gguf";

struct Flags {
  std::string model;
  std::string max_shard_size = "5GB";
  int n_threads = 0;
  bool quiet = false;
  std::string json;
  std::string type = "auto";
  bool manifest = true;
  RepackOptions options;
};

// Options that belong to one of the three ways.
absl::Status CheckOptions(const CLI::App& command, const Flags& flags) {
  const bool to_gguf = flags.options.format == kGguf;
  const bool from_gguf = !to_gguf && !IsDirectory(flags.model);
  const std::pair<const char*, bool> kRules[] = {
      {"--type", to_gguf},
      {"--allow-dense", from_gguf},
      {"--dtype", from_gguf},
      {"--max-shard-size", !to_gguf},
  };
  for (const auto& [name, fits] : kRules) {
    if (!fits && command.get_option(name)->count() > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, " means nothing here: it is for ",
          absl::string_view(name) == "--type"             ? "--format gguf"
          : absl::string_view(name) == "--max-shard-size" ? "directories"
                                                          : "GGUF files"));
    }
  }
  return absl::OkStatus();
}

std::string ReportJson(const RepackResult& result) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("from").String(result.from);
  json.Key("to").String(result.to);
  json.Key("layers").Integer(result.n_layers);
  json.Key("weights").Integer(result.n_weights);
  json.Key("packed_bytes").Integer(result.packed_bytes);
  json.Key("tensor_bytes").Integer(result.tensor_bytes);
  json.Key("notes").BeginArray();
  for (const std::string& note : result.notes) {
    json.String(note);
  }
  json.EndArray();
  json.EndObject();
  return json.text();
}

CommandResult Run(const CLI::App& command, Flags* flags) {
  RepackOptions& options = flags->options;
  const absl::Status usage = CheckOptions(command, *flags);
  if (!usage.ok()) {
    return {usage, kExitUsage};
  }
  if (flags->type != "auto") {
    options.gguf_type = TypeFromName(flags->type);  // CLI11 checked it
  }
  const auto max_bytes =
      ParseByteSize(flags->max_shard_size, "--max-shard-size");
  if (!max_bytes.ok()) {
    return {max_bytes.status(), kExitUsage};
  }
  options.max_shard_bytes = *max_bytes;
  options.n_threads =
      flags->n_threads > 0
          ? flags->n_threads
          : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  options.cancelled = CatchSignals();
  const absl::Status json = CheckJsonPath(flags->json);
  if (!json.ok()) {
    return {json};
  }
  const auto recorder = ProvenanceRecorder::Begin(
      ProvenanceOf(command, flags->manifest, flags->n_threads));
  options.before_finish = [&](const std::string& folder) {
    return recorder->WriteInto(folder, options.out, {});
  };
  std::unique_ptr<Progress> progress;
  options.on_size = [&](int64_t n_bytes) {
    progress =
        std::make_unique<Progress>("repacking", "B", n_bytes, flags->quiet);
  };
  options.on_written = [&](int64_t n_bytes) { progress->Add(n_bytes); };
  const auto result = Repack(flags->model, options);
  progress.reset();
  if (!result.ok()) {
    return {result.status()};
  }
  if (options.format == kGguf) {
    const absl::Status manifest = recorder->WriteBeside(options.out, {});
    if (!manifest.ok()) {
      return {manifest};
    }
  }
  for (const std::string& note : result->notes) {
    std::fprintf(stderr, "narrow: note: %s\n", OneLine(note).c_str());
  }
  if (!flags->quiet && flags->json != "-") {
    std::printf(
        "%s: %d layers from %s to %s, %.4f bits per weight, %s in all\n",
        OneLine(options.out).c_str(), static_cast<int>(result->n_layers),
        result->from.c_str(), result->to.c_str(),
        8.0 * static_cast<double>(result->packed_bytes) /
            static_cast<double>(result->n_weights),
        FormatBytes(result->tensor_bytes).c_str());
  }
  return {WriteJson(flags->json, ReportJson(*result))};
}

}  // namespace

void AddRepackCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app->add_subcommand("repack",
                          "write a quantized model in another packing, or as "
                          "GGUF, every weight the "
                          "same");
  command->footer(kExamples);
  command
      ->add_option("model", flags->model,
                   "quantized model directory (config.json with "
                   "quantization_config, and safetensors), or a GGUF file")
      ->required();
  command
      ->add_option(
          "--format", flags->options.format,
          absl::StrCat("the packing: ", KnownPackingNames(), ", or gguf"))
      ->required()
      ->type_name("NAME");
  command
      ->add_option("-o,--out", flags->options.out,
                   "folder that is not there yet, or is empty; with --format "
                   "gguf a file")
      ->required()
      ->type_name("PATH");
  command
      ->add_option("--type", flags->type,
                   "with --format gguf: type of integer layers (auto: the "
                   "smallest that holds them exactly)")
      ->check(CLI::IsMember({"auto", "q4_0", "q4_1", "q8_0", "mxfp4"}))
      ->capture_default_str();
  command->add_flag("--allow-dense", flags->options.allow_dense,
                    "from GGUF: decode quantized tensors that the packing "
                    "cannot hold, instead of refusing them");
  command
      ->add_option("--dtype", flags->options.dtype,
                   "from GGUF: the model's type (auto: that of the matrices "
                   "which are not quantized, else bf16)")
      ->check(CLI::IsMember({"auto", "bf16", "f16", "f32"}))
      ->capture_default_str();
  command
      ->add_option("--max-shard-size", flags->max_shard_size,
                   "largest file of the output")
      ->capture_default_str()
      ->type_name("SIZE");
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddManifestFlag(command, &flags->manifest);
  AddThreadsOption(command, &flags->n_threads);
  AddJsonOption(command, &flags->json);
  command->callback(
      [command, flags, result] { *result = Run(*command, flags.get()); });
}

}  // namespace narrow
