// The flags of commands that publish a validation: --html and --markdown.
//
//   AddPageFlags(command, &flags);
//   RETURN_IF_ERROR(CheckPageFlags(flags));      // before the work
//   RETURN_IF_ERROR(WritePages(flags, report, commands));

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_PAGE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_PAGE_FLAGS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "validate/validation.h"

namespace narrow {

struct PageFlags {
  std::string html;
  std::string markdown;
  std::string title;

  bool any() const { return !html.empty() || !markdown.empty(); }
};

// `flags` must outlive the command.
void AddPageFlags(CLI::App* command, PageFlags* flags);

// InvalidArgument for a title without a page, and where a page would replace a
// folder, a model or a text named by mistake.
absl::Status CheckPageFlags(const PageFlags& flags);

// Writes the pages that were asked for, each complete or not at all. `commands`
// make it all again, a line each.
absl::Status WritePages(const PageFlags& flags, const ValidationReport& report,
                        const std::vector<std::string>& commands);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_PAGE_FLAGS_H_
