#include "converter/commands/command.h"

#include <cstdio>

#include "formats/base/file.h"

namespace narrow {

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

absl::Status WriteJson(const std::string& path, absl::string_view json) {
  if (path.empty()) {
    return absl::OkStatus();
  }
  if (path == "-") {
    std::fwrite(json.data(), 1, json.size(), stdout);
    std::fputc('\n', stdout);
    return absl::OkStatus();
  }
  return WriteTextFile(path, json);
}

}  // namespace narrow
