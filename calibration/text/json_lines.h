// The lines of a JSONL file, each a JSON object.
//
//   JsonLines lines(bytes, "data.jsonl");
//   while (lines.Next()) {
//     ASSIGN_OR_RETURN(auto document, lines.Parse());
//     ... return lines.Error("no field \"text\"") ...
//   }
//
// Lines of white space are passed over; a byte order mark at the beginning
// too. Borrows the bytes. Belongs to one thread.

#ifndef NARROW_CALIBRATION_TEXT_JSON_LINES_H_
#define NARROW_CALIBRATION_TEXT_JSON_LINES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"

namespace narrow {

// No record of a data set is longer; a file without line ends is found early.
inline constexpr int64_t kMaxLineBytes = int64_t{64} << 20;

class JsonLines {
 public:
  JsonLines(absl::string_view bytes, std::string path);

  // The next line that is not blank; false at the end.
  bool Next();
  absl::string_view line() const { return line_; }
  int64_t number() const { return number_; }

  // InvalidArgument: no JSON object, or too long; with line and file.
  absl::StatusOr<std::unique_ptr<const JsonDocument>> Parse() const;
  // InvalidArgument: "<cause>; line 12; reading data.jsonl".
  absl::Status Error(absl::string_view cause) const;

 private:
  absl::string_view rest_;
  const std::string path_;
  absl::string_view line_;
  int64_t number_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_JSON_LINES_H_
