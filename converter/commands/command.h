// One subcommand of the program: a file here and a row in commands.inc.
//
//   void AddInspectCommand(CLI::App* app, CommandResult* result) {
//     auto flags = std::make_shared<Flags>();
//     app->add_option("file", flags->file, "…")->required();
//     app->callback([flags, result] { result->status = Run(*flags); });
//   }
//
// The callback runs after all flags are parsed. Results for people go to
// standard output, progress and warnings to standard error, and with
// --json FILE the same results to a file (see WriteJson).

#ifndef NARROW_CONVERTER_COMMANDS_COMMAND_H_
#define NARROW_CONVERTER_COMMANDS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narrow {

// Exit codes of the program; frozen, since pipelines test them.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;      // the status says why, on stderr
inline constexpr int kExitUsage = 2;       // flags that do not parse
inline constexpr int kExitGateFailed = 3;  // measured, and not good enough
inline constexpr int kExitUndecided = 4;   // measured, but on too little

struct CommandResult {
  absl::Status status;
  int exit_code = kExitFailed;  // where the status is an error
  int verdict = kExitOk;        // the exit code where it is none
};

// Adds --json FILE and --threads N (-t), spelled the same everywhere.
void AddJsonOption(CLI::App* app, std::string* json_path);
void AddThreadsOption(CLI::App* app, int* n_threads);

// Fails where WriteJson to `path` would, before the work that it reports, and
// where it would replace a model or a text named by mistake.
absl::Status CheckJsonPath(const std::string& path);

// Writes `json` to `path`, complete or not at all, or straight into a device or
// pipe; "-" is standard output and an empty path does nothing.
absl::Status WriteJson(const std::string& path, absl::string_view json);

#define NARROW_COMMAND(name, function) \
  void function(CLI::App* app, CommandResult* result);
#include "converter/commands/commands.inc"
#undef NARROW_COMMAND

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_COMMAND_H_
