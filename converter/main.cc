// narrow: full-precision language models in, small ones out.
//
// Every subcommand is a file of converter/commands and a row of commands.inc.

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include "converter/commands/command.h"
#include "converter/version_text.h"
#include "formats/base/status.h"

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

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 usage,
3 a gate's limit is exceeded, 4 a gate needs more text to decide.)";

// A program started with a standard stream closed would give its number to
// the next file it opens, and write its messages into a model.
void OpenStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      open("/dev/null", O_RDWR);  // takes the lowest free number: fd
    }
  }
}

// A split output has all its shards open at once. Where the limit stays too
// low, opening them says so.
void AllowManyFiles() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// An option whose value is empty, as of a shell variable that is not set,
// would do the same as one that is not given: quantize without importance,
// say.
void RefuseEmptyValues(CLI::App* app) {
  for (CLI::App* command : app->get_subcommands({})) {
    for (CLI::Option* option : command->get_options()) {
      option->check([](const std::string& value) {
        return value.empty() ? "its value is empty" : "";
      });
    }
  }
}

// Results that did not reach standard output are a failure, unless a reader
// such as `head` has closed the pipe: then it has what it wanted.
bool FlushStandardOutput() {
  const bool flushed = std::fflush(stdout) == 0;
  const int error = errno;
  if (flushed && std::ferror(stdout) == 0) {
    return true;
  }
  pollfd out = {STDOUT_FILENO, 0, 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0) {
    return true;
  }
  std::fprintf(stderr, "narrow: error: %s; writing standard output\n",
               flushed ? "output was lost" : std::strerror(error));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardStreams();
  AllowManyFiles();
  // A limit on file sizes and a reader that went away are then errors like a
  // full disk, not deaths that leave partial files.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app(kDescription, "narrow");
  app.footer(kExamples);
  app.set_version_flag("--version", narrow::VersionText);
  app.require_subcommand(1);
  narrow::CommandResult result;
#define NARROW_COMMAND(name, function) narrow::function(&app, &result);
#include "converter/commands/commands.inc"
#undef NARROW_COMMAND
  RefuseEmptyValues(&app);
  if (argc < 2) {
    std::fputs(app.help().c_str(), stderr);
    return narrow::kExitUsage;
  }
  // CLI11 reports help and bad flags by throwing; it ends here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) != 0) {
      return narrow::kExitUsage;
    }
  }
  if (!result.status.ok()) {
    std::fprintf(stderr, "narrow: error: %s\n",
                 narrow::OneLine(result.status.message()).c_str());
    return result.exit_code;
  }
  return FlushStandardOutput() ? result.verdict : narrow::kExitFailed;
}
