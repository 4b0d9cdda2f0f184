// A command line as a shell reads it, from the flags that were given: for
// reports that say how to make them again.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_COMMAND_LINE_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"

namespace narrow {

// `word` as one word of a shell: in single quotes unless that changes nothing.
std::string ShellWord(absl::string_view word);

// "narrow NAME" with the positional values, then the flags in the order of the
// help, without those of `left_out` (long names with their dashes).
std::string CommandLine(const CLI::App& command,
                        const std::vector<std::string>& left_out);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_COMMAND_LINE_H_
