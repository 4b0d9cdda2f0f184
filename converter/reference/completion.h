// Completions for shells, made of the parser's own rows.
//
//   std::fputs(BashCompletion(app, words).c_str(), stdout);
//
// Pure.

#ifndef NARROW_CONVERTER_REFERENCE_COMPLETION_H_
#define NARROW_CONVERTER_REFERENCE_COMPLETION_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace narrow {

// Values that an option takes besides those its check lists.
struct ValueWords {
  std::string command;
  std::string option;  // "--to"
  std::vector<std::string> words;
  bool comma_list = false;  // several, separated by commas
};

// For /usr/share/bash-completion/completions/narrow.
std::string BashCompletion(const CLI::App& app,
                           const std::vector<ValueWords>& values);
// For /usr/share/zsh/vendor-completions/_narrow.
std::string ZshCompletion(const CLI::App& app,
                          const std::vector<ValueWords>& values);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REFERENCE_COMPLETION_H_
