// A published layout of multiple-choice questions: how its records are told
// from others, what they ask, and in which words a model is asked it.
//
//   ASSIGN_OR_RETURN(const TaskLayout* layout, FindTaskLayout("mmlu"));
//   ASSIGN_OR_RETURN(TaskItem item, layout->read(record));
//
// To add one: a file here that defines `const TaskLayout k<Name>Layout`, and
// its row in layouts.inc.
//
// Prompts are those of EleutherAI's lm-evaluation-harness, since published
// figures are made with them: a description, worked examples each ended by an
// empty line, the question, and a choice after one space.
//
// Rows are constant; safe from any thread.

#ifndef NARROW_VALIDATE_TASKS_LAYOUTS_LAYOUT_H_
#define NARROW_VALIDATE_TASKS_LAYOUTS_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "validate/tasks/records.h"

namespace narrow {

// A question as its record has it.
struct TaskItem {
  std::string id;       // empty if the record has none
  std::string subject;  // empty where questions have none
  // What stands before the choices: one text for all of them, or one each
  // (WinoGrande, whose choices stand in the middle of a sentence).
  std::vector<std::string> contexts;
  std::vector<std::string> choices;  // without the space before them
  int64_t gold = 0;                  // the right one
  // Choices among which the right one is to be found; empty: all.
  std::vector<int64_t> contenders;
  // For kMass: those that are true, and those that are not.
  std::vector<int64_t> true_choices;
  std::vector<int64_t> false_choices;

  const std::string& context(int64_t choice) const {
    return contexts.size() == 1 ? contexts[0] : contexts[choice];
  }
};

enum class MetricKind {
  kAcc,       // the contender of the highest probability is the right one
  kAccNorm,   // of the highest log-probability a character
  kAccToken,  // a token, counted from the first in which the choices differ
  kMass,      // share of the true choices in the probability of all
};

struct MetricRow {
  const char* name;
  MetricKind kind;
};

struct TaskLayout {
  const char* name;    // as flags spell it
  const char* title;   // as papers spell it
  const char* source;  // who published it
  // Whether a record looks like one of this layout.
  bool (*matches)(const Record& record);
  absl::StatusOr<TaskItem> (*read)(const Record& record);
  // What stands once before everything; nullptr for nothing.
  std::string (*description)(const std::string& subject);
  std::vector<MetricRow> metrics;  // the one usually published first
  // Whether worked examples may be put before a question.
  bool takes_examples;
};

// Every layout, in the order in which records are tried.
const std::vector<const TaskLayout*>& TaskLayouts();

// nullptr if there is none of that name.
const TaskLayout* FindTaskLayout(absl::string_view name);

// The layout of the file's first record. InvalidArgument names its fields and
// the layouts that there are.
absl::StatusOr<const TaskLayout*> DetectTaskLayout(const RecordFile& file);

// For layouts: a text without white space at its ends, as str.strip.
std::string Stripped(absl::string_view text);
// "A", "B", … of choice 0, 1, …; REQUIRES: below 26.
std::string Letter(int64_t choice);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_LAYOUTS_LAYOUT_H_
