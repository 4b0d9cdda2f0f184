#include "validate/tasks/csv.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "validate/tasks/records.h"

namespace narrow {

CsvReader::CsvReader(absl::string_view bytes, std::string path)
    : bytes_(absl::StripPrefix(bytes, "\xef\xbb\xbf")),
      path_(std::move(path)) {}

absl::Status CsvReader::Error(absl::string_view cause, int64_t line) const {
  return absl::InvalidArgumentError(
      absl::StrCat(cause, "; line ", line, "; reading ", path_));
}

bool CsvReader::AtRowEnd() const {
  return at_ == bytes_.size() || bytes_[at_] == '\n' ||
         (bytes_[at_] == '\r' && at_ + 1 < bytes_.size() &&
          bytes_[at_ + 1] == '\n');
}

void CsvReader::SkipRowEnd() {
  if (at_ == bytes_.size()) {
    return;
  }
  at_ += bytes_[at_] == '\r' ? 2 : 1;
  ++line_;
}

// The rest of a field after its opening quote, up to what follows the closing
// one.
absl::Status CsvReader::ReadQuoted(std::string* field) {
  const int64_t opened = line_;
  const size_t begin = at_;
  while (true) {
    const size_t quote = bytes_.find('"', at_);
    const size_t end = std::min(quote, bytes_.size());
    if (static_cast<int64_t>(end - begin) > kMaxRecordBytes ||
        quote == absl::string_view::npos) {
      return Error(
          "a field begins with a quote that has no end (within "
          "1 MiB)",
          opened);
    }
    const absl::string_view part = bytes_.substr(at_, end - at_);
    line_ += std::count(part.begin(), part.end(), '\n');
    field->append(part.data(), part.size());
    at_ = end + 1;
    if (at_ == bytes_.size() || bytes_[at_] != '"') {
      break;
    }
    field->push_back('"');
    ++at_;
  }
  if (!AtRowEnd() && bytes_[at_] != ',') {
    return Error(
        "text follows the closing quote of a field; a quote within a quoted "
        "field is written twice",
        line_);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> CsvReader::Next() {
  while (at_ < bytes_.size() && AtRowEnd()) {
    SkipRowEnd();
  }
  if (at_ == bytes_.size()) {
    return false;
  }
  fields_.clear();
  row_line_ = line_;
  const size_t begin = at_;
  while (true) {
    std::string field;
    if (at_ < bytes_.size() && bytes_[at_] == '"') {
      ++at_;
      RETURN_IF_ERROR(ReadQuoted(&field));
    } else {
      const size_t first = at_;
      while (!AtRowEnd() && bytes_[at_] != ',') {
        ++at_;
      }
      field = std::string(bytes_.substr(first, at_ - first));
    }
    if (static_cast<int64_t>(at_ - begin) > kMaxRecordBytes) {
      return Error(absl::StrCat("the row has more than ", kMaxRecordBytes,
                                " bytes; no question is that long"),
                   row_line_);
    }
    if (!utf8::IsValid(field)) {
      return Error(absl::StrCat("field ", fields_.size() + 1,
                                " is not UTF-8; convert the file, for "
                                "example with iconv"),
                   row_line_);
    }
    fields_.push_back(std::move(field));
    if (AtRowEnd()) {
      SkipRowEnd();
      return true;
    }
    ++at_;  // the comma
  }
}

}  // namespace narrow
