#include "converter/commands/flags/byte_size.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace narrow {

absl::StatusOr<int64_t> ParseByteSize(absl::string_view text,
                                      absl::string_view flag) {
  struct Unit {
    const char* name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"KIB", 1024.0},
                             {"MIB", 1048576.0},
                             {"GIB", 1073741824.0},
                             {"TIB", 1099511627776.0},
                             {"KB", 1e3},
                             {"MB", 1e6},
                             {"GB", 1e9},
                             {"TB", 1e12},
                             {"B", 1}};
  const std::string upper =
      absl::AsciiStrToUpper(absl::StripAsciiWhitespace(text));
  absl::string_view number = upper;
  double unit = 1;
  for (const Unit& row : kUnits) {
    if (absl::EndsWith(number, row.name)) {
      number.remove_suffix(absl::string_view(row.name).size());
      unit = row.bytes;
      break;
    }
  }
  double value;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(number), &value) ||
      !(value * unit >= 1 && value * unit <= 1e18)) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, ": '", text, "' is no size; write 500MB, 5GB or 2GiB"));
  }
  return static_cast<int64_t>(value * unit);
}

}  // namespace narrow
