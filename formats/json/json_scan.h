// A plain walk over JSON text, for what the fast parser cannot say: where the
// first error is, and which numbers only Python would accept.
//
//   JsonScan scan = ScanJson(text, 128);
//   if (!scan.error.empty()) ... scan.error_offset ...
//
// Runs only after the fast parser has refused a text.

#ifndef NARROW_FORMATS_JSON_JSON_SCAN_H_
#define NARROW_FORMATS_JSON_JSON_SCAN_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

// Bytes [offset, offset + length) of the text, and what to put there.
struct JsonRewrite {
  size_t offset;
  size_t length;
  std::string replacement;
};

struct JsonScan {
  std::string error;  // empty: the structure is sound
  size_t error_offset = 0;
  // Integers beyond 64 bits become doubles; NaN, Infinity, -Infinity null.
  std::vector<JsonRewrite> rewrites;
};

JsonScan ScanJson(absl::string_view text, int max_depth);

// "line 3, column 14", both from 1; columns count bytes.
std::string LineAndColumn(absl::string_view text, size_t offset);

}  // namespace narrow

#endif  // NARROW_FORMATS_JSON_JSON_SCAN_H_
