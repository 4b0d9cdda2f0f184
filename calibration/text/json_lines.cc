// Tested by: text_kind_test, sample_text_test.

#include "calibration/text/json_lines.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace narrow {

JsonLines::JsonLines(absl::string_view bytes, std::string path)
    : rest_(absl::StripPrefix(bytes, "\xef\xbb\xbf")), path_(std::move(path)) {}

bool JsonLines::Next() {
  while (!rest_.empty()) {
    const size_t end = rest_.find('\n');
    line_ = absl::StripAsciiWhitespace(rest_.substr(0, end));
    rest_.remove_prefix(end == absl::string_view::npos ? rest_.size()
                                                       : end + 1);
    ++number_;
    if (!line_.empty()) {
      return true;
    }
  }
  line_ = {};
  return false;
}

absl::Status JsonLines::Error(absl::string_view cause) const {
  return absl::InvalidArgumentError(
      absl::StrCat(cause, "; line ", number_, "; reading ", path_));
}

absl::StatusOr<std::unique_ptr<const JsonDocument>> JsonLines::Parse() const {
  if (static_cast<int64_t>(line_.size()) > kMaxLineBytes) {
    return Error(absl::StrCat("the line has ", line_.size(),
                              " bytes, more than ", kMaxLineBytes));
  }
  if (line_[0] != '{') {
    return Error("the line is no JSON object");
  }
  auto document =
      JsonDocument::Parse(line_, absl::StrCat("line ", number_, " of ", path_));
  if (!document.ok()) {
    return absl::InvalidArgumentError(document.status().message());
  }
  return document;
}

}  // namespace narrow
