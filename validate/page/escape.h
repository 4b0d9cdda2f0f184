// Text from outside in HTML and Markdown: names of models and files may hold
// anything, and command nothing.
//
// Bytes that are not UTF-8, control characters, and those that turn the
// direction of writing (which make a name read as another) become U+FFFD.
// Pure functions.

#ifndef NARROW_VALIDATE_PAGE_ESCAPE_H_
#define NARROW_VALIDATE_PAGE_ESCAPE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

// `text` in one line of harmless characters, not escaped yet.
std::string Harmless(absl::string_view text);

// For HTML and SVG, between tags and within quoted attributes.
std::string HtmlText(absl::string_view text);

// For a line of Markdown or a cell of its tables: what would be markup has a
// backslash before it, or is an entity.
std::string MarkdownText(absl::string_view text);

// The same of a file's name, as code where that can hold it.
std::string MarkdownName(absl::string_view name);

// Lines as a fenced block of code, ended by a line end; the fence is longer
// than any in the text.
std::string MarkdownCode(absl::string_view lines);

// A fenced block keeps line ends; all else as Harmless.
std::string HarmlessLines(absl::string_view lines);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_ESCAPE_H_
