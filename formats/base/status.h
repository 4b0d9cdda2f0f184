// Status macros and the one way errors gain context.
//
//   absl::Status Load(absl::string_view path) {
//     ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
//     RETURN_IF_ERROR(Check(*file));
//     ...
//   }
//
// A message has cause, place, file, and both numbers when two disagree; each
// layer adds only what it alone knows, with Annotate.

#ifndef NARROW_FORMATS_BASE_STATUS_H_
#define NARROW_FORMATS_BASE_STATUS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// Returns `status` with "; <detail>" appended to its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view detail);

// `name` as messages show it: in single quotes, bytes that are no
// printable ASCII escaped, cut when long. Names from files may hold anything.
std::string QuotedName(absl::string_view name);

// `text` in one line that commands no terminal: control characters escaped,
// all else as it is.
std::string OneLine(absl::string_view text);

}  // namespace narrow

#define NARROW_CONCAT_INNER(a, b) a##b
#define NARROW_CONCAT(a, b) NARROW_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                  \
  do {                                         \
    absl::Status narrow_status_macro = (expr); \
    if (!narrow_status_macro.ok()) {           \
      return narrow_status_macro;              \
    }                                          \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(NARROW_CONCAT(narrow_or_, __LINE__), lhs, expr)

#define ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                          \
  if (!result.ok()) {                            \
    return result.status();                      \
  }                                              \
  lhs = *std::move(result)

#endif  // NARROW_FORMATS_BASE_STATUS_H_
