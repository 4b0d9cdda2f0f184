// The commands and their options as plain rows, read from the parser that
// --help prints: what man page and completions are made of.
//
//   for (const CommandRow& command : CommandTable(app)) …
//
// Pure.

#ifndef NARROW_CONVERTER_REFERENCE_COMMAND_TABLE_H_
#define NARROW_CONVERTER_REFERENCE_COMMAND_TABLE_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace narrow {

struct OptionRow {
  std::vector<std::string> names;  // "-o", "--out"; none: positional
  std::string description;
  std::string positional;            // its name
  std::string value;                 // "FILE"; empty: takes none
  std::vector<std::string> choices;  // where only these are accepted
  std::string default_value;
  bool required = false;
  bool repeatable = false;

  bool is_path() const;  // whether `value` is a file or a folder
};

struct CommandRow {
  std::string name;
  std::string description;
  std::string footer;              // as --help ends, verbatim
  std::vector<OptionRow> options;  // positional ones first
};

// Without commands that --help does not list.
std::vector<CommandRow> CommandTable(const CLI::App& app);

// The options of the program itself.
std::vector<OptionRow> OptionTable(const CLI::App& app);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REFERENCE_COMMAND_TABLE_H_
