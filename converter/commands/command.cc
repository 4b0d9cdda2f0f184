#include "converter/commands/command.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Files of a model's folder, which are JSON as reports are.
constexpr const char* kModelFiles[] = {"added_tokens.json",
                                       "chat_template.json",
                                       "config.json",
                                       "generation_config.json",
                                       "preprocessor_config.json",
                                       "processor_config.json",
                                       "special_tokens_map.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "vocab.json"};
constexpr char kShardIndex[] = ".index.json";

bool IsNamedAsModelFile(absl::string_view path) {
  const absl::string_view name = path.substr(path.rfind('/') + 1);
  return absl::EndsWith(name, kShardIndex) ||
         std::find(std::begin(kModelFiles), std::end(kModelFiles), name) !=
             std::end(kModelFiles);
}

}  // namespace

void AddJsonOption(CLI::App* app, std::string* json_path) {
  app->add_option("--json", *json_path,
                  "write the results as JSON to FILE ('-': standard output)")
      ->type_name("FILE");
}

void AddThreadsOption(CLI::App* app, int* n_threads) {
  app->add_option("-t,--threads", *n_threads,
                  "threads to use (default: all processors)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
}

absl::Status CheckJsonPath(const std::string& path) {
  if (path.empty() || path == "-" || IsSpecialFile(path)) {
    return absl::OkStatus();
  }
  if (FileExists(path)) {
    ASSIGN_OR_RETURN(const auto old, MappedFile::Open(path));
    if (!old->bytes().empty() &&
        (old->bytes()[0] != '{' || IsNamedAsModelFile(path))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--json would replace ", path,
          ", which is no report; name another file, or remove it"));
    }
  }
  return Annotate(OutputFile::Create(path).status(), "--json");
}

absl::Status WriteJson(const std::string& path, absl::string_view json) {
  if (path.empty()) {
    return absl::OkStatus();
  }
  if (path == "-") {
    std::fwrite(json.data(), 1, json.size(), stdout);
    std::fputc('\n', stdout);
    return absl::OkStatus();
  }
  if (IsSpecialFile(path)) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    const bool written =
        file != nullptr &&
        std::fwrite(json.data(), 1, json.size(), file) == json.size() &&
        std::fflush(file) == 0;
    const int error = errno;
    if (file != nullptr) {
      std::fclose(file);
    }
    return written ? absl::OkStatus()
                   : absl::ErrnoToStatus(error, absl::StrCat("writing ", path));
  }
  return WriteTextFile(path, json);
}

}  // namespace narrow
