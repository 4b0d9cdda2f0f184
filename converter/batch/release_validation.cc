#include "converter/batch/release_validation.h"

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "converter/batch/target_solver.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::Status CheckRange(const char* name, bool is_set, double value,
                        double least, double most) {
  return !is_set || (value >= least && value <= most)
             ? absl::OkStatus()
             : absl::InvalidArgumentError(
                   absl::StrCat("validation: ", name, " is ", value,
                                ", not within ", least, " and ", most));
}

// As the options of narrow validate; NaN is within nothing.
absl::Status CheckNumbers(const ReleaseValidation& v) {
  constexpr double kMost = 1e9;
  RETURN_IF_ERROR(CheckRange("context", v.has_context(),
                             static_cast<double>(v.context()), 2, 1 << 20));
  RETURN_IF_ERROR(CheckRange("chunks", v.has_chunks(),
                             static_cast<double>(v.chunks()), 1, kMost));
  RETURN_IF_ERROR(CheckRange("max_ppl_delta", v.has_max_ppl_delta(),
                             v.max_ppl_delta(), -0.999, kMost));
  RETURN_IF_ERROR(
      CheckRange("max_kld", v.has_max_kld(), v.max_kld(), 0, kMost));
  RETURN_IF_ERROR(
      CheckRange("max_rms_dp", v.has_max_rms_dp(), v.max_rms_dp(), 0, 1));
  RETURN_IF_ERROR(CheckRange("min_top1", v.has_min_top1(), v.min_top1(), 0, 1));
  RETURN_IF_ERROR(CheckRange("min_task_delta", v.has_min_task_delta(),
                             v.min_task_delta(), -1, 1));
  return CheckRange("error_rate", v.has_error_rate(), v.error_rate(), 1e-9,
                    0.49);
}

}  // namespace

absl::StatusOr<ReleaseValidation> PlanValidation(const ReleaseValidation& asked,
                                                 const std::string& folder) {
  ReleaseValidation validation = asked;
  if (validation.text_size() == 0 && validation.task_size() == 0) {
    return absl::InvalidArgumentError("a validation without a text or a task");
  }
  RETURN_IF_ERROR(CheckNumbers(asked));
  std::set<std::string> names;
  for (ReleaseText& text : *validation.mutable_text()) {
    if (text.file_size() == 0) {
      return absl::InvalidArgumentError("a text without a file");
    }
    if (!text.has_name()) {
      text.set_name(std::filesystem::path(text.file(0)).filename().string());
    }
    if (!names.insert(text.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two texts have the name ", QuotedName(text.name())));
    }
    for (std::string& file : *text.mutable_file()) {
      file = ResolvedPath(folder, file);
    }
  }
  for (ReleaseTask& task : *validation.mutable_task()) {
    if (!task.has_file()) {
      return absl::InvalidArgumentError("a task without a file");
    }
    task.set_file(ResolvedPath(folder, task.file()));
    if (task.has_few_shot()) {
      task.set_few_shot(ResolvedPath(folder, task.few_shot()));
    }
  }
  return validation;
}

}  // namespace narrow
