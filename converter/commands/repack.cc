// narrow repack: a quantized directory in another packing, nothing lost.

#include "converter/repack/repack.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "converter/commands/byte_size.h"
#include "converter/commands/command.h"
#include "converter/commands/signals.h"
#include "converter/progress.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/packing.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow repack model-gptq --format compressed-tensors --out model-ct
  narrow repack model-awq --format gptq_v2 --out model-gptq)";

struct Flags {
  std::string model;
  std::string max_shard_size = "5GB";
  int n_threads = 0;
  bool quiet = false;
  std::string json;
  RepackOptions options;
};

std::string ReportJson(const RepackResult& result) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("from").String(result.from);
  json.Key("to").String(result.to);
  json.Key("layers").Integer(result.n_layers);
  json.Key("weights").Integer(result.n_weights);
  json.Key("packed_bytes").Integer(result.packed_bytes);
  json.Key("tensor_bytes").Integer(result.tensor_bytes);
  json.EndObject();
  return json.text();
}

CommandResult Run(Flags* flags) {
  RepackOptions& options = flags->options;
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
  CLI::App* command = app->add_subcommand(
      "repack",
      "write a quantized directory in another packing, every weight the same");
  command->footer(kExamples);
  command
      ->add_option("model", flags->model,
                   "quantized model directory (config.json with "
                   "quantization_config, and safetensors)")
      ->required();
  command
      ->add_option("--format", flags->options.format,
                   absl::StrCat("the packing: ", KnownPackingNames()))
      ->required()
      ->type_name("NAME");
  command
      ->add_option("-o,--out", flags->options.out,
                   "folder that is not there yet, or is empty")
      ->required()
      ->type_name("FOLDER");
  command
      ->add_option("--max-shard-size", flags->max_shard_size,
                   "largest file of the output")
      ->capture_default_str()
      ->type_name("SIZE");
  command->add_flag("-q,--quiet", flags->quiet, "no progress, no summary");
  AddThreadsOption(command, &flags->n_threads);
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { *result = Run(flags.get()); });
}

}  // namespace narrow
