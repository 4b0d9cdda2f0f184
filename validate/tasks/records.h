// The records of a file of questions: lines of JSON, an array of JSON objects,
// rows of CSV, or blocks of six lines as llama.cpp's tools read HellaSwag.
//
//   ASSIGN_OR_RETURN(RecordFile file, ReadRecords("hellaswag_val.jsonl"));
//   for (const Record& record : file.records) {
//     ASSIGN_OR_RETURN(std::string label, record.Text("label"));
//   }
//
// A record is a value: fields by name, in which a field is a text or a list of
// texts, nested objects spelled with a dot ("choices.text"). CSV files without
// a header, and blocks of lines, have numbers for names: "0", "1", …
//
// Immutable once read, safe to share between threads.

#ifndef NARROW_VALIDATE_TASKS_RECORDS_H_
#define NARROW_VALIDATE_TASKS_RECORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// No question is longer; a file without line ends is found early.
inline constexpr int64_t kMaxRecordBytes = int64_t{1} << 20;

// One field. Of JSON: text of a string, a number or a boolean; a list of such.
// An object is taken apart, a list of objects (ARC's choices) into lists
// "list.key"; null is as if the field were not there.
struct Field {
  std::string name;
  bool is_list = false;
  std::vector<std::string> texts;  // one where it is no list
};

class Record {
 public:
  Record(std::string file, int64_t line, std::vector<Field> fields);

  bool Has(absl::string_view name) const { return Find(name) != nullptr; }
  bool HasList(absl::string_view name) const;
  const std::vector<Field>& fields() const { return fields_; }

  // InvalidArgument with line and file: no such field, or a list where a text
  // is wanted and the other way around.
  absl::StatusOr<std::string> Text(absl::string_view name) const;
  absl::StatusOr<std::vector<std::string>> List(absl::string_view name) const;
  // The text if there is such a field, else empty.
  std::string TextOrEmpty(absl::string_view name) const;
  // An integer in 0 … n - 1, for the place of a choice.
  absl::StatusOr<int64_t> Index(absl::string_view name, int64_t n) const;

  // "<cause>; line 12; reading FILE".
  absl::Status Error(absl::string_view cause) const;

  const std::string& file() const { return file_; }
  int64_t line() const { return line_; }

 private:
  const Field* Find(absl::string_view name) const;

  std::string file_;
  int64_t line_;
  std::vector<Field> fields_;
};

struct RecordFile {
  std::string path;
  std::vector<Record> records;  // one at least
};

// InvalidArgument: an empty file, one that is none of these, a record that
// cannot be read; with line (or element of the array) and file.
absl::StatusOr<RecordFile> ReadRecords(const std::string& path);

// The same of bytes in memory; `path` is for messages, and the name of a CSV
// file's subject.
absl::StatusOr<RecordFile> ParseRecords(absl::string_view text,
                                        const std::string& path);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_RECORDS_H_
