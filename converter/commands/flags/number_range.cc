// Tested by device_flags_test.cc.

#include "converter/commands/flags/number_range.h"

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace narrow {

CLI::Validator NumberRange(double least, double most) {
  const std::string range = absl::StrCat("[", least, " - ", most, "]");
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        double value = 0;
        if (absl::SimpleAtod(text, &value) && value >= least && value <= most) {
          return "";
        }
        return absl::StrCat("Value ", text, " not in range ", least, " to ",
                            most);
      },
      absl::StrCat("FLOAT in ", range));
}

CLI::Validator PositiveNumber() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        double value = 0;
        if (absl::SimpleAtod(text, &value) && value > 0 &&
            std::isfinite(value)) {
          return "";
        }
        return absl::StrCat("Value ", text, " is no number above 0");
      },
      "POSITIVE");
}

}  // namespace narrow
