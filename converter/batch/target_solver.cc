#include "converter/batch/target_solver.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

namespace pb = google::protobuf;

constexpr char kPlain[] = "none";
constexpr char kOneShot[] = "one-shot";
constexpr char kNoWeights[] = "none";

// Every field that is set as the option of its name: --sample-tokens=512.
// Repeated fields are left out.
void AddOptions(const pb::Message& message, std::vector<std::string>* words) {
  std::vector<const pb::FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    if (field->is_repeated()) {
      continue;
    }
    const std::string name = absl::StrCat(
        "--", absl::StrReplaceAll(std::string(field->name()), {{"_", "-"}}));
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_BOOL) {
      if (message.GetReflection()->GetBool(message, field)) {
        words->push_back(name);
      }
      continue;
    }
    std::string value;
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING) {
      value = message.GetReflection()->GetString(message, field);
    } else {
      pb::TextFormat::PrintFieldValueToString(message, field, -1, &value);
    }
    words->push_back(absl::StrCat(name, "=", value));
  }
}

}  // namespace

std::string ResolvedPath(const std::string& folder, const std::string& path) {
  return path.empty() || path[0] == '/' || folder.empty()
             ? path
             : JoinPath(folder, path);
}

absl::Status PlanSolver(const ReleaseTarget& asked,
                        const ReleaseSolverText& text,
                        const std::string& folder, ReleaseTarget* settings,
                        PlannedTarget* target) {
  if (!asked.has_solver() || asked.solver() == kPlain) {
    if (asked.has_solver_options() || asked.has_calibration()) {
      return absl::InvalidArgumentError(
          "solver_options and calibration are of a solver, and none is named; "
          "say solver: \"compensated\"");
    }
    return absl::OkStatus();
  }
  ReleaseSolverText calibration =
      asked.has_calibration() ? asked.calibration() : text;
  if (calibration.file_size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "solver ", asked.solver(),
        " looks at what goes into every matrix; give a text: calibration { "
        "file: \"FILE\" }, of the target, the model or the release"));
  }
  target->recipe.calibrated = true;
  target->recipe.calibrated_embedding =
      asked.solver_options().token_weights() != kNoWeights;
  target->is_one_shot = asked.solver_options().order() == kOneShot;
  target->solver.push_back(absl::StrCat("--solver=", asked.solver()));
  AddOptions(asked.solver_options(), &target->solver);
  for (const std::string& file : calibration.file()) {
    target->calibration.push_back(ResolvedPath(folder, file));
    target->solver.push_back(
        absl::StrCat("--calibration=", target->calibration.back()));
  }
  AddOptions(calibration, &target->solver);
  calibration.clear_file();
  *settings->mutable_calibration() = calibration;
  return absl::OkStatus();
}

}  // namespace narrow
