#include "converter/commands/flags/manifest_flags.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr absl::string_view kOfRun[] = {
    "--help",         "--out",          "--threads",
    "--json",         "--quiet",        "--memory",
    "--restart",      "--no-verify",    "--dry-run",
    "--print-recipe", "--write-recipe", "--no-manifest",
    "--shard",        "--shards",       "--write-plans",
    "--plan",         "--measure",      "--measure-chunks",
    "--only-tensor",  "--verify",       "--device"};

std::string NameOf(const CLI::Option& option) {
  return option.get_lnames().empty()
             ? option.get_name()
             : absl::StrCat("--", option.get_lnames().front());
}

void AddArguments(const CLI::Option& option, ProvenanceRequest* request) {
  const std::string name = NameOf(option);
  if (option.get_expected_max() == 0) {
    request->arguments.push_back(name);
    return;
  }
  for (const std::string& value : option.results()) {
    request->arguments.push_back(absl::StrCat(name, "=", value));
    if (option.get_type_name() == "FILE") {
      request->files.emplace_back(name, value);
    } else if (option.get_type_name() == "DIR") {
      request->models.emplace_back(name, value);
    }
  }
}

}  // namespace

void AddManifestFlag(CLI::App* command, bool* on) {
  command->add_flag("!--no-manifest", *on,
                    "do not write OUT.manifest.pb and .json, by which narrow "
                    "verify knows the output and its origin again");
}

bool IsOptionOfRun(absl::string_view name) {
  return std::find(std::begin(kOfRun), std::end(kOfRun), name) !=
         std::end(kOfRun);
}

ProvenanceRequest ProvenanceOf(const CLI::App& command, bool on,
                               int n_threads) {
  ProvenanceRequest request;
  request.on = on;
  request.command = command.get_name();
  request.n_threads = n_threads;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = NameOf(*option);
    if (option->get_positional()) {
      for (const std::string& value : option->results()) {
        request.models.emplace_back("original", value);
      }
      continue;
    }
    if (IsOptionOfRun(name)) {
      continue;
    }
    if (option->count() > 0) {
      AddArguments(*option, &request);
    }
    const std::string value = option->count() > 0
                                  ? absl::StrJoin(option->results(), " ")
                                  : option->get_default_str();
    if (!value.empty()) {
      request.recipe.emplace_back(name, value);
    }
  }
  return request;
}

std::vector<std::string> WithOption(std::vector<std::string> arguments,
                                    absl::string_view option,
                                    absl::string_view value) {
  const std::string prefix = absl::StrCat(option, "=");
  for (std::string& argument : arguments) {
    if (absl::StartsWith(argument, prefix)) {
      argument = absl::StrCat(prefix, value);
    }
  }
  return arguments;
}

absl::StatusOr<std::string> ProvenanceForParts(
    const ProvenanceRequest& request) {
  provenance::Manifest manifest;
  manifest.set_command(request.command);
  for (const auto& [role, path] : request.models) {
    if (role == "original") {
      manifest.add_inputs()->set_path(path);
    }
  }
  for (const std::string& argument : request.arguments) {
    manifest.add_arguments(argument);
  }
  for (const auto& [name, value] : request.recipe) {
    provenance::Setting* setting = manifest.add_recipe();
    setting->set_name(name);
    setting->set_value(value);
  }
  for (const auto& [option, path] : request.files) {
    ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(path));
    provenance::UsedFile* file = manifest.add_used();
    file->set_option(option);
    file->set_path(path);
    file->set_n_bytes(digest.n_bytes);
    file->set_sha256(digest.sha256.Hex());
  }
  return manifest.SerializeAsString();
}

}  // namespace narrow
