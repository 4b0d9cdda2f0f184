// narrow help, narrow completion: what the other commands say of themselves,
// for people, man and shells. Neither is listed by --help.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/mix/mix_rules.h"
#include "converter/quantize/recipe/method.h"
#include "converter/reference/completion.h"
#include "converter/reference/man_page.h"
#include "converter/version.h"
#include "formats/base/text/nearest.h"
#include "formats/packing/packing.h"

namespace narrow {
namespace {

// What options take that their checks do not list.
std::vector<ValueWords> Values() {
  ValueWords types = {"convert", "--to", {"COPY", "hf"}, true};
  for (const FileType type : OfferedFileTypes()) {
    types.words.push_back(Info(type).name);
  }
  ValueWords methods = {"quantize", "--method", {}, false};
  for (const Method& method : AllMethods()) {
    methods.words.push_back(method.name);
  }
  ValueWords formats = {"quantize", "--format", {}, false};
  for (const Packing* packing : AllPackings()) {
    formats.words.push_back(packing->name);
  }
  ValueWords repacked = formats;
  repacked.command = "repack";
  return {types, methods, formats, repacked};
}

CommandResult Help(const CLI::App& app, const std::string& name, bool man) {
  if (man) {
    std::fputs(ManPage(app, kNarrowVersion).c_str(), stdout);
    return {};
  }
  if (name.empty()) {
    std::fputs(app.help().c_str(), stdout);
    return {};
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(
           [](const CLI::App* one) { return !one->get_group().empty(); })) {
    names.push_back(command->get_name());
    if (command->get_name() == name) {
      std::fputs(command->help(app.get_name()).c_str(), stdout);
      return {};
    }
  }
  return {absl::InvalidArgumentError(
              absl::StrCat("there is no command '", name, "'; the nearest is '",
                           NearestName(name, names), "'")),
          kExitUsage};
}

}  // namespace

void AddHelpCommand(CLI::App* app, CommandResult* result) {
  auto name = std::make_shared<std::string>();
  auto man = std::make_shared<bool>(false);
  CLI::App* command =
      app->add_subcommand("help", "the help of a command, or the manual page");
  command->group("");
  command->footer(
      "Examples:\n  narrow help convert\n"
      "  narrow help --man > narrow.1");
  command->add_option("command", *name, "whose help to print");
  command->add_flag("--man", *man, "print the manual page as roff");
  command->callback(
      [app, name, man, result] { *result = Help(*app, *name, *man); });
}

void AddCompletionCommand(CLI::App* app, CommandResult* result) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app->add_subcommand("completion", "print completions for a shell");
  command->group("");
  command->footer("Example:\n  source <(narrow completion bash)");
  command->add_option("shell", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([app, shell, result] {
    std::fputs((*shell == "bash" ? BashCompletion(*app, Values())
                                 : ZshCompletion(*app, Values()))
                   .c_str(),
               stdout);
    result->status = absl::OkStatus();
  });
}

}  // namespace narrow
