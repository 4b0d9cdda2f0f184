// The part of `narrow convert` that writes Hugging Face directories: --to hf
// and the options that belong to it.

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_HF_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_HF_H_

#include <CLI/CLI.hpp>
#include <atomic>
#include <string>

#include "absl/strings/string_view.h"
#include "converter/commands/command.h"

namespace narrow {

struct HfFlags {
  std::string dtype = "auto";
  std::string max_shard_size = "5GB";
};

// What the command shares with conversions to GGUF.
struct HfRequest {
  std::string model;
  std::string out;  // empty: <name of the model>-hf in the current folder
  HfFlags hf;
  bool dry_run = false;
  bool quiet = false;
  int n_threads = 0;
  std::string json;
  const std::atomic<bool>* cancelled = nullptr;
  bool manifest = true;
};

void AddHfOptions(CLI::App* command, HfFlags* flags);

// Whether --to asks for a directory; "hf" stands alone there.
bool IsHfTarget(absl::string_view to);

// An error names the first option given that is for directories only.
absl::Status CheckNoHfOptions(const CLI::App& command);

// Options of `command` that mean nothing here are refused by name.
CommandResult ConvertToHf(const CLI::App& command, const HfRequest& request);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_HF_H_
