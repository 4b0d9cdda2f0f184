#include "converter/commands/verify/manifest_command.h"

#include <algorithm>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/commands/command.h"
#include "converter/commands/flags/manifest_flags.h"
#include "converter/provenance/digest_files.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using AddCommand = void (*)(CLI::App*, CommandResult*);

AddCommand FindCommand(absl::string_view name) {
  return name == "convert"    ? AddConvertCommand
         : name == "quantize" ? AddQuantizeCommand
         : name == "repack"   ? AddRepackCommand
                              : nullptr;
}

// Where a file with these contents is.
absl::StatusOr<std::string> FindUsed(const provenance::UsedFile& used,
                                     const std::vector<std::string>& others) {
  std::vector<std::string> paths = {used.path()};
  paths.insert(paths.end(), others.begin(), others.end());
  for (const std::string& path : paths) {
    const auto digest = DigestFile(path);
    if (digest.ok() && digest->sha256.Hex() == used.sha256()) {
      return path;
    }
  }
  return absl::NotFoundError(
      absl::StrCat(OneLine(used.option()), ": ", OneLine(used.path()),
                   " is not there or has changed; give the file with SHA-256 ",
                   used.sha256(), " with --file"));
}

}  // namespace

bool CanRun(absl::string_view command) {
  return FindCommand(command) != nullptr;
}

std::string OptionOf(absl::string_view argument) {
  return std::string(argument.substr(0, argument.find('=')));
}

absl::StatusOr<std::vector<std::string>> SafeArguments(
    const provenance::Manifest& manifest,
    const std::vector<std::string>& files) {
  CLI::App app;
  CommandResult unused;
  FindCommand(manifest.command())(&app, &unused);
  const CLI::App* command = app.get_subcommands({}).front();
  std::vector<std::string> words;
  for (const std::string& argument : manifest.arguments()) {
    const std::string flag = OptionOf(argument);
    const CLI::Option* option = absl::StartsWith(flag, "--")
                                    ? command->get_option_no_throw(flag)
                                    : nullptr;
    if (option == nullptr || option->get_positional() || IsOptionOfRun(flag) ||
        IsOptionOfRun(absl::StrCat("--", option->get_lnames().front()))) {
      return absl::DataLossError(
          absl::StrCat("the manifest's command has the argument ",
                       QuotedName(argument), ", which no output has"));
    }
    const std::string type = option->get_type_name();
    const std::string value =
        argument.substr(std::min(argument.size(), flag.size() + 1));
    if (type == "FILE") {
      const auto used = std::find_if(
          manifest.used().begin(), manifest.used().end(),
          [&](const provenance::UsedFile& row) { return row.path() == value; });
      if (used == manifest.used().end()) {
        return absl::DataLossError(
            absl::StrCat("the manifest's command reads ", QuotedName(value),
                         ", of which the manifest has no hash"));
      }
      ASSIGN_OR_RETURN(const std::string path, FindUsed(*used, files));
      words.push_back(absl::StrCat(flag, "=", path));
      continue;
    }
    if (type == "DIR") {
      const auto input = std::find_if(
          manifest.inputs().begin(), manifest.inputs().end(),
          [&](const provenance::Model& row) { return row.role() == flag; });
      const auto found = DigestFolder(flag, value);
      RETURN_IF_ERROR(found.status());
      if (input == manifest.inputs().end() ||
          input->sha256() != found->sha256()) {
        return absl::InvalidArgumentError(absl::StrCat(
            flag, ": ", OneLine(value), " is not what the output was made of"));
      }
    }
    words.push_back(argument);
  }
  return words;
}

absl::Status RunManifestCommand(const std::vector<std::string>& words) {
  CLI::App app;
  CommandResult result;
  FindCommand(words.front())(&app, &result);
  // CLI11 takes them from the end, and throws.
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("the manifest's command does not parse: ", error.what()));
  }
  return result.status;
}

}  // namespace narrow
