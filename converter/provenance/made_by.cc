// Tested by: target_manifest_test of converter/batch.

#include "converter/provenance/made_by.h"

#include "absl/strings/str_cat.h"
#include "converter/provenance/manifest.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// A word as a shell reads it.
std::string Quoted(const std::string& word) {
  const bool plain =
      !word.empty() && word.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"
                           "Z0123456789_-+=./,:@%") == std::string::npos;
  if (plain) {
    return word;
  }
  std::string text = "'";
  for (const char c : word) {
    absl::StrAppend(&text, c == '\'' ? "'\\''" : std::string(1, c));
  }
  return text + "'";
}

}  // namespace

std::string CommandText(const std::vector<std::string>& words) {
  std::string text = "narrow";
  for (const std::string& word : words) {
    absl::StrAppend(&text, " ", Quoted(word));
  }
  return OneLine(text);
}

std::string MadeBy(const std::string& output) {
  const auto manifest = ReadManifest(ManifestPath(output));
  if (!manifest.ok() || manifest->inputs_size() == 0) {
    return "";
  }
  std::vector<std::string> words = {manifest->command(),
                                    manifest->inputs(0).path()};
  words.insert(words.end(), manifest->arguments().begin(),
               manifest->arguments().end());
  words.push_back(absl::StrCat("--out=", manifest->output().path()));
  return CommandText(words);
}

}  // namespace narrow
