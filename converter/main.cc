// narrow: full-precision language models in, small ones out.
//
// Every subcommand is a file of converter/commands and a row of commands.inc.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>

#include "converter/commands/command.h"

namespace {

constexpr char kDescription[] =
    "Turns full-precision language models into small ones, and measures what "
    "was lost.";

constexpr char kExamples[] = R"(Examples:
  narrow convert models/gemma-3-270m --to Q4_K_M
  narrow convert models/gemma-3-270m --to Q4_K_M,Q8_0 --out out/
  narrow perplexity models/gemma-3-270m gemma-3-270m-Q4_K_M.gguf \
      --text wiki.test.raw --chunks 8
  narrow inspect gemma-3-270m-Q4_K_M.gguf

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 usage.)";

constexpr char kVersion[] = "narrow 0.1.0";

}  // namespace

int main(int argc, char** argv) {
  // A limit on file sizes is then an error like a full disk, not a death.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app(kDescription, "narrow");
  app.footer(kExamples);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  narrow::CommandResult result;
#define NARROW_COMMAND(name, function) narrow::function(&app, &result);
#include "converter/commands/commands.inc"
#undef NARROW_COMMAND
  // CLI11 reports help and bad flags by throwing; it ends here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? narrow::kExitOk : narrow::kExitUsage;
  }
  if (!result.status.ok()) {
    std::fprintf(stderr, "narrow: error: %s\n",
                 std::string(result.status.message()).c_str());
    return narrow::kExitFailed;
  }
  return narrow::kExitOk;
}
