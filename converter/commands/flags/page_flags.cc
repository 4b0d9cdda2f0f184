// Tested by: page_flags_test.

#include "converter/commands/flags/page_flags.h"

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/page/page.h"

namespace narrow {
namespace {

// What our own pages begin with; any other file is not replaced.
constexpr char kHtmlBegin[] = "<!DOCTYPE html>";
constexpr char kMarkdownBegin[] = "## ";

absl::Status CheckPath(const std::string& flag, const std::string& path,
                       absl::string_view begin) {
  if (path.empty()) {
    return absl::OkStatus();
  }
  if (path == "-" || IsSpecialFile(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " needs the name of a file"));
  }
  if (FileExists(path)) {
    ASSIGN_OR_RETURN(const auto old, MappedFile::Open(path));
    const absl::string_view bytes(
        reinterpret_cast<const char*>(old->bytes().data()),
        old->bytes().size());
    if (!bytes.empty() && !absl::StartsWith(bytes, begin)) {
      return absl::InvalidArgumentError(absl::StrCat(
          flag, " would replace ", path,
          ", which is no report; name another file, or remove it"));
    }
  }
  return Annotate(OutputFile::Create(path).status(), flag);
}

}  // namespace

void AddPageFlags(CLI::App* command, PageFlags* flags) {
  command
      ->add_option("--html", flags->html,
                   "write a page with pictures and tables: one file, which "
                   "needs no network")
      ->type_name("FILE")
      ->group("Report");
  command
      ->add_option("--markdown", flags->markdown,
                   "write the tables as Markdown, for a model card")
      ->type_name("FILE")
      ->group("Report");
  command
      ->add_option("--title", flags->title,
                   "title of both (default: made of the original's name)")
      ->type_name("TEXT")
      ->group("Report");
}

absl::Status CheckPageFlags(const PageFlags& flags) {
  if (!flags.title.empty() && !flags.any()) {
    return absl::InvalidArgumentError(
        "--title is that of a page, and neither --html nor --markdown is "
        "given");
  }
  if (flags.any() && flags.html == flags.markdown) {
    return absl::InvalidArgumentError(
        "--html and --markdown name the same file");
  }
  RETURN_IF_ERROR(CheckPath("--html", flags.html, kHtmlBegin));
  return CheckPath("--markdown", flags.markdown, kMarkdownBegin);
}

absl::Status WritePages(const PageFlags& flags, const ValidationReport& report,
                        const std::vector<std::string>& commands) {
  PageOptions options;
  options.title = flags.title;
  options.commands = commands;
  if (!flags.html.empty()) {
    RETURN_IF_ERROR(WriteTextFile(flags.html, RenderPage(report, options)));
  }
  if (!flags.markdown.empty()) {
    RETURN_IF_ERROR(
        WriteTextFile(flags.markdown, RenderMarkdown(report, options)));
  }
  return absl::OkStatus();
}

}  // namespace narrow
