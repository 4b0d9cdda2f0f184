#include "converter/reference/man_page.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/reference/command_table.h"

namespace narrow {
namespace {

// Text as roff takes it: backslashes, hyphens that are to be minus signs, and
// no line that begins like a request.
std::string Escaped(absl::string_view text) {
  std::string out;
  bool line_begins = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (line_begins && (c == '.' || c == '\'')) {
      out += "\\&";
    }
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '\'') {
      out += "\\(aq";
    } else if (c == '~') {
      out += "\\(ti";
    } else if (c == '^') {
      out += "\\(ha";
    } else if (c == '`') {
      out += "\\(ga";
    } else if (text.substr(i, 3) == "…") {
      out += "...";
      i += 2;
    } else {
      out += c;
    }
    line_begins = c == '\n';
  }
  return out;
}

std::string Sentence(const std::string& text) {
  std::string out = text;
  if (!out.empty()) {
    out[0] = absl::ascii_toupper(static_cast<unsigned char>(out[0]));
    if (out.back() != '.') {
      out += '.';
    }
  }
  return out;
}

// "-o, --out PATH", names bold and values in italics.
std::string OptionHead(const OptionRow& option) {
  std::string head;
  for (const std::string& name : option.names) {
    absl::StrAppend(&head, head.empty() ? "" : ", ", "\\fB", Escaped(name),
                    "\\fR");
  }
  const std::string& value =
      option.names.empty() ? option.positional : option.value;
  if (!value.empty()) {
    absl::StrAppend(&head, head.empty() ? "" : " ", "\\fI", Escaped(value),
                    "\\fR");
  }
  return head;
}

std::string OptionText(const OptionRow& option) {
  std::string text = Sentence(option.description);
  if (!option.choices.empty()) {
    absl::StrAppend(&text, " One of ");
    for (size_t i = 0; i < option.choices.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "" : ", ", option.choices[i]);
    }
    absl::StrAppend(&text, ".");
  }
  if (!option.default_value.empty() && !option.value.empty()) {
    absl::StrAppend(&text, " Default: ", option.default_value, ".");
  }
  return absl::StrCat(".TP\n", OptionHead(option), "\n", Escaped(text), "\n");
}

// Lines as they are: examples.
std::string Verbatim(const std::string& text) {
  return absl::StrCat(".PP\n.nf\n",
                      Escaped(absl::StripTrailingAsciiWhitespace(text)),
                      "\n.fi\n");
}

std::string Synopsis(const CommandRow& command) {
  std::string text = absl::StrCat("\\fBnarrow ", Escaped(command.name), "\\fR");
  for (const OptionRow& option : command.options) {
    if (!option.names.empty()) {
      continue;
    }
    absl::StrAppend(&text, option.required ? " " : " [", "\\fI",
                    Escaped(option.positional), "\\fR",
                    option.required ? "" : "]", option.repeatable ? "..." : "");
  }
  return text + " [\\fIoptions\\fR]";
}

}  // namespace

std::string ManPage(const CLI::App& app, absl::string_view version) {
  const std::vector<CommandRow> commands = CommandTable(app);
  std::string page = absl::StrCat(
      "'\\\" t\n.\\\" Made by `narrow help --man`.\n.TH NARROW 1 \"\" "
      "\"narrow ",
      version, "\" \"User Commands\"\n.SH NAME\nnarrow \\- ",
      "turn full\\-precision language models into small ones\n.SH SYNOPSIS\n");
  for (const CommandRow& command : commands) {
    absl::StrAppend(&page, Synopsis(command), "\n.br\n");
  }
  absl::StrAppend(&page, "\\fBnarrow\\fR \\-\\-version\n.SH DESCRIPTION\n",
                  Escaped(app.get_description()), "\n");
  for (const OptionRow& option : OptionTable(app)) {
    absl::StrAppend(&page, OptionText(option));
  }
  absl::StrAppend(&page, ".SH COMMANDS\n");
  for (const CommandRow& command : commands) {
    absl::StrAppend(&page, ".SS ", Synopsis(command), "\n",
                    Escaped(Sentence(command.description)), "\n");
    for (const OptionRow& option : command.options) {
      absl::StrAppend(&page, OptionText(option));
    }
    if (!command.footer.empty()) {
      absl::StrAppend(&page, Verbatim(command.footer));
    }
  }
  absl::StrAppend(&page, ".SH EXAMPLES AND EXIT STATUS\n",
                  Verbatim(app.get_footer()));
  absl::StrAppend(
      &page, ".SH ENVIRONMENT\n.TP\n\\fBNARROW_ISA\\fR\n",
      Escaped("scalar, avx2 or avx512: the best instruction set to use. The "
              "bytes of an output do not depend on it."),
      "\n");
  return page;
}

}  // namespace narrow
