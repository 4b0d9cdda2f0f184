#include "formats/base/status.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace narrow {

absl::Status Annotate(const absl::Status& status, absl::string_view detail) {
  if (status.ok()) {
    return status;
  }
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "; ", detail));
}

std::string QuotedName(absl::string_view name) {
  constexpr size_t kMaxShown = 96;
  const absl::string_view shown = name.substr(0, kMaxShown);
  return absl::StrCat("'", absl::CHexEscape(shown),
                      shown.size() < name.size() ? "…'" : "'");
}

std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&line, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace narrow
