#include "converter/reference/command_table.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace narrow {
namespace {

// CLI11 appends what a check says to the type: "TEXT:{compat,strict}",
// "N:INT in [1 - 1024]".
void ReadType(const std::string& text, OptionRow* row) {
  const size_t colon = text.find(':');
  row->value = text.substr(0, colon);
  const size_t open = text.find('{');
  const size_t close = text.rfind('}');
  if (open != std::string::npos && close != std::string::npos && open < close) {
    row->choices = absl::StrSplit(text.substr(open + 1, close - open - 1), ',',
                                  absl::SkipEmpty());
  }
}

OptionRow RowOf(const CLI::Option& option) {
  OptionRow row;
  for (const std::string& name : option.get_snames()) {
    row.names.push_back("-" + name);
  }
  for (const std::string& name : option.get_lnames()) {
    row.names.push_back("--" + name);
  }
  // "!--no-verify" is a flag that takes something back.
  for (const std::string& name : option.get_fnames()) {
    const std::string flag = name.size() == 1 ? "-" + name : "--" + name;
    if (std::find(row.names.begin(), row.names.end(), flag) ==
        row.names.end()) {
      row.names.push_back(flag);
    }
  }
  row.description = option.get_description();
  row.default_value = option.get_default_str();
  row.required = option.get_required();
  if (option.get_positional() && row.names.empty()) {
    row.positional = option.get_name();
  }
  if (option.get_expected_max() > 0) {
    ReadType(option.get_type_name(), &row);
    row.repeatable =
        option.get_expected_max() >= CLI::detail::expected_max_vector_size;
  }
  return row;
}

}  // namespace

bool OptionRow::is_path() const {
  return value == "FILE" || value == "DIR" || value == "PATH" ||
         value == "MODEL" || value == "FOLDER" ||
         absl::StartsWith(value, "FILE") || absl::EndsWith(value, "=FILE");
}

std::vector<OptionRow> OptionTable(const CLI::App& app) {
  std::vector<OptionRow> rows;
  for (const bool positional : {true, false}) {
    for (const CLI::Option* option : app.get_options()) {
      OptionRow row = RowOf(*option);
      if (!option->get_group().empty() && row.names.empty() == positional) {
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

std::vector<CommandRow> CommandTable(const CLI::App& app) {
  std::vector<CommandRow> rows;
  for (const CLI::App* command : app.get_subcommands(
           [](const CLI::App* one) { return !one->get_group().empty(); })) {
    rows.push_back({command->get_name(), command->get_description(),
                    command->get_footer(), OptionTable(*command)});
  }
  return rows;
}

}  // namespace narrow
