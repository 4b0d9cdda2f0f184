// Rows of a CSV file, as RFC 4180 has them.
//
//   CsvReader csv(bytes, "test.csv");
//   while (true) {
//     ASSIGN_OR_RETURN(const bool more, csv.Next());
//     if (!more) break;
//     ... csv.fields(), csv.line() ...
//   }
//
// Fields are separated by commas; one in double quotes may hold commas, line
// ends and quotes, which are written twice. A quote inside a field that does
// not begin with one is an ordinary character, as Python's csv module reads
// it. Lines end with LF or CRLF; empty ones are passed over, and a byte order
// mark at the beginning too. Borrows the bytes. Belongs to one thread.

#ifndef NARROW_VALIDATE_TASKS_CSV_H_
#define NARROW_VALIDATE_TASKS_CSV_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

class CsvReader {
 public:
  CsvReader(absl::string_view bytes, std::string path);

  // Reads the next row; false at the end. InvalidArgument, with line and
  // file: a quote without its end, text after a closing quote, a row longer
  // than kMaxRecordBytes (validate/tasks/records.h), bytes that are not UTF-8.
  absl::StatusOr<bool> Next();

  const std::vector<std::string>& fields() const { return fields_; }
  std::vector<std::string> TakeFields() { return std::move(fields_); }
  // The line on which the row begins, from 1.
  int64_t line() const { return row_line_; }

 private:
  absl::Status ReadQuoted(std::string* field);
  absl::Status Error(absl::string_view cause, int64_t line) const;
  bool AtRowEnd() const;
  void SkipRowEnd();

  const absl::string_view bytes_;
  const std::string path_;
  size_t at_ = 0;
  int64_t line_ = 1;
  int64_t row_line_ = 1;
  std::vector<std::string> fields_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_CSV_H_
