// WMDP: what a model knows of biological, chemical and digital weapons, as a
// proxy (Li et al., "The WMDP Benchmark", ICML 2024). For a quantized model:
// whether unlearning survives the quantization.
//
// Records: question, choices, answer as a number; the subject follows from the
// project's names of files, bio-questions.json, chem-…, cyber-…

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "formats/base/status.h"
#include "validate/tasks/layouts/layout.h"
#include "validate/tasks/layouts/lettered.h"

namespace narrow {
namespace {

// Part of the file's name, and the subject.
constexpr std::pair<absl::string_view, absl::string_view> kSubjects[] = {
    {"bio", "biology"}, {"chem", "chemistry"}, {"cyber", "cybersecurity"}};

std::string FileName(const Record& record) {
  const std::string& path = record.file();
  return absl::AsciiStrToLower(path.substr(path.rfind('/') + 1));
}

std::string Subject(const Record& record) {
  const std::string name = FileName(record);
  for (const auto& [part, subject] : kSubjects) {
    if (absl::StrContains(name, part)) {
      return std::string(subject);
    }
  }
  return "";
}

bool Matches(const Record& record) {
  const std::string name = FileName(record);
  return record.HasList("choices") && IsLettered(record) &&
         (absl::StrContains(name, "wmdp") ||
          (absl::StrContains(name, "-questions") && !Subject(record).empty()));
}

absl::StatusOr<TaskItem> Read(const Record& record) {
  ASSIGN_OR_RETURN(TaskItem item, ReadLettered(record));
  item.subject = Subject(record);
  return item;
}

}  // namespace

extern const TaskLayout kWmdpLayout;
const TaskLayout kWmdpLayout = {"wmdp",
                                "WMDP",
                                "Li et al. 2024",
                                Matches,
                                Read,
                                LetteredDescription,
                                {{"acc", MetricKind::kAcc}},
                                /*takes_examples=*/true};

}  // namespace narrow
