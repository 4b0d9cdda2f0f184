// Tested by: command_line_test.

#include "converter/commands/flags/command_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace narrow {
namespace {

bool IsPlain(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::string_view("-_./=:,+%@").find(c) != absl::string_view::npos;
}

// "--text", or "-q" of a flag without a long name.
std::string FlagName(const CLI::Option& option) {
  return option.get_lnames().empty()
             ? absl::StrCat("-", option.get_snames().front())
             : absl::StrCat("--", option.get_lnames().front());
}

}  // namespace

std::string ShellWord(absl::string_view word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), IsPlain)) {
    return std::string(word);
  }
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string CommandLine(const CLI::App& command,
                        const std::vector<std::string>& left_out) {
  std::string positional;
  std::string flags;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0) {
      continue;
    }
    if (option->get_lnames().empty() && option->get_snames().empty()) {
      for (const std::string& value : option->results()) {
        absl::StrAppend(&positional, " ", ShellWord(value));
      }
      continue;
    }
    const std::string name = FlagName(*option);
    if (std::find(left_out.begin(), left_out.end(), name) != left_out.end()) {
      continue;
    }
    if (option->get_expected_max() == 0) {
      absl::StrAppend(&flags, " ", name);
      continue;
    }
    for (const std::string& value : option->results()) {
      absl::StrAppend(&flags, " ", name, " ", ShellWord(value));
    }
  }
  return absl::StrCat("narrow ", command.get_name(), positional, flags);
}

}  // namespace narrow
