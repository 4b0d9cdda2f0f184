// A validation as a page to publish: self-contained HTML, and Markdown for a
// model card.
//
//   PageOptions options;
//   options.commands = {"narrow validate gemma gemma-Q4_K_M.gguf --text
//   w.txt"}; WriteTextFile("report.html", RenderPage(report, options));
//   WriteTextFile("report.md", RenderMarkdown(report, options));
//
// The page needs no network and no script, follows the reader's light or dark
// theme, and is read on a phone as on a desk. Its bytes follow from the report
// and the options alone: no time, no machine. Pure functions.

#ifndef NARROW_VALIDATE_PAGE_PAGE_H_
#define NARROW_VALIDATE_PAGE_PAGE_H_

#include <string>
#include <vector>

#include "validate/validation.h"

namespace narrow {

struct PageOptions {
  std::string title;  // empty: made from the original's name
  // What makes it all again, a line each.
  std::vector<std::string> commands;
};

std::string RenderPage(const ValidationReport& report,
                       const PageOptions& options);

std::string RenderMarkdown(const ValidationReport& report,
                           const PageOptions& options);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PAGE_H_
