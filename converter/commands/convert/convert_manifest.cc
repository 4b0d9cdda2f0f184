#include "converter/commands/convert/convert_manifest.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr absl::string_view kOfChoice[] = {
    "--to",         "--target-size", "--target-bpw",
    "--target-kld", "--types",       "--fuse-siblings",
    "--probe",      "--tensor-type", "--tensor-type-file"};
constexpr absl::string_view kOfText[] = {
    "--calibration", "--samples",    "--sample-tokens", "--seed",
    "--text-kind",   "--text-field", "--no-pack",       "--assistant-only"};

template <size_t N>
bool IsOneOf(absl::string_view flag, const absl::string_view (&rows)[N]) {
  return std::find(std::begin(rows), std::end(rows), flag) != std::end(rows);
}

}  // namespace

std::vector<std::string> AllocatedArguments(
    const std::vector<std::string>& arguments, const Recipe& recipe,
    bool solved) {
  std::vector<std::string> kept = {absl::StrCat("--to=", RecipeName(recipe))};
  for (const std::string& argument : arguments) {
    const absl::string_view flag =
        absl::string_view(argument).substr(0, argument.find('='));
    if (!IsOneOf(flag, kOfChoice) && (solved || !IsOneOf(flag, kOfText))) {
      kept.push_back(argument);
    }
  }
  for (const TypeOverride& row : recipe.overrides) {
    kept.push_back(
        absl::StrCat("--tensor-type=", row.pattern, "=", TypeName(row.type)));
  }
  return kept;
}

provenance::Measurement Measured(const std::string& name, double value,
                                 int64_t n_windows) {
  provenance::Measurement row;
  row.set_name(name);
  row.set_value(value);
  row.set_text(absl::StrCat(n_windows,
                            " windows of the calibration text that "
                            "were not calibrated on"));
  return row;
}

provenance::Measurement MeanError(const std::vector<SolvedReport>& solved) {
  double sum = 0;
  for (const SolvedReport& report : solved) {
    sum += report.relative_error;
  }
  provenance::Measurement row;
  row.set_name("mean relative error of solved tensors' outputs");
  row.set_value(sum / static_cast<double>(solved.size()));
  row.set_text("the calibration text");
  return row;
}

}  // namespace narrow
