// MMLU: 57 subjects from school to profession (Hendrycks et al., "Measuring
// Massive Multitask Language Understanding", ICLR 2021).
//
// The project's CSV files, one a subject, without a header and with a letter
// as answer; copies of them with a header and a number; JSON with a list of
// choices and a subject. The subject of a record without one is the name of
// its file. The five worked examples are those of the subject's dev file:
// --few-shot dev.csv --shots 5.

#include "formats/base/status.h"
#include "validate/tasks/layouts/layout.h"
#include "validate/tasks/layouts/lettered.h"

namespace narrow {
namespace {

absl::StatusOr<TaskItem> Read(const Record& record) {
  ASSIGN_OR_RETURN(TaskItem item, ReadLettered(record));
  item.subject = record.TextOrEmpty("subject");
  if (item.subject.empty()) {
    item.subject = SubjectOfFile(record.file());
  }
  return item;
}

}  // namespace

extern const TaskLayout kMmluLayout;
const TaskLayout kMmluLayout = {"mmlu",
                                "MMLU",
                                "Hendrycks et al. 2021",
                                IsLettered,
                                Read,
                                LetteredDescription,
                                {{"acc", MetricKind::kAcc}},
                                /*takes_examples=*/true};

}  // namespace narrow
