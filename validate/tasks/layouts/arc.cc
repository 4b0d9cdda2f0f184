// ARC, easy and challenge: questions of school science (Clark et al., "Think
// you have Solved Question Answering? Try ARC", 2018).
//
// The project's own JSONL (question.stem, question.choices [{text, label}],
// answerKey), the flat copies of it (question, choices.text, choices.label),
// and the project's CSV, in which the choices follow the question in one
// field: "Which? (A) one (B) two (C) three (D) four".

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {
namespace {

struct Parts {
  std::string stem;
  std::vector<std::string> texts;
  std::vector<std::string> labels;
};

bool Matches(const Record& record) {
  return (record.Has("answerKey") &&
          (record.HasList("choices.text") ||
           record.HasList("question.choices.text"))) ||
         (record.Has("AnswerKey") && record.Has("question"));
}

// Of "Which? (A) one (B) two". Labels begin with A or with 1; the last place
// of the first one counts, since a stem may have brackets of its own.
bool Split(const std::string& text, char first, Parts* parts) {
  const auto mark = [](char label) {
    return absl::StrCat("(", std::string(1, label), ")");
  };
  size_t at = text.rfind(mark(first));
  if (at == std::string::npos) {
    return false;
  }
  parts->stem = Stripped(absl::string_view(text).substr(0, at));
  for (char label = first; at != std::string::npos && label < first + 9;
       ++label) {
    const size_t begin = at + 3;
    const size_t next = text.find(mark(static_cast<char>(label + 1)), begin);
    parts->labels.emplace_back(1, label);
    parts->texts.push_back(
        Stripped(absl::string_view(text).substr(begin, next - begin)));
    at = next;
  }
  return parts->texts.size() > 1;
}

absl::StatusOr<Parts> ReadParts(const Record& record) {
  Parts parts;
  const bool nested = record.HasList("question.choices.text");
  const std::string prefix = nested ? "question." : "";
  if (!record.HasList(absl::StrCat(prefix, "choices.text"))) {
    ASSIGN_OR_RETURN(const std::string text, record.Text("question"));
    if (!Split(text, 'A', &parts)) {
      parts = Parts();
      if (!Split(text, '1', &parts)) {
        return record.Error(
            "the question has no choices: neither a list 'choices.text' nor "
            "(A), (B) … in its text");
      }
    }
    return parts;
  }
  ASSIGN_OR_RETURN(parts.stem,
                   record.Text(nested ? "question.stem" : "question"));
  ASSIGN_OR_RETURN(parts.texts,
                   record.List(absl::StrCat(prefix, "choices.text")));
  ASSIGN_OR_RETURN(parts.labels,
                   record.List(absl::StrCat(prefix, "choices.label")));
  if (parts.texts.size() != parts.labels.size()) {
    return record.Error(absl::StrCat("the question has ", parts.texts.size(),
                                     " choices and ", parts.labels.size(),
                                     " labels"));
  }
  return parts;
}

absl::StatusOr<TaskItem> Read(const Record& record) {
  ASSIGN_OR_RETURN(Parts parts, ReadParts(record));
  ASSIGN_OR_RETURN(
      const std::string key,
      record.Text(record.Has("answerKey") ? "answerKey" : "AnswerKey"));
  const auto found = std::find(parts.labels.begin(), parts.labels.end(), key);
  if (found == parts.labels.end()) {
    return record.Error(absl::StrCat("the right answer is ", QuotedName(key),
                                     ", the choices are ",
                                     absl::StrJoin(parts.labels, ", ")));
  }
  TaskItem item;
  item.gold = found - parts.labels.begin();
  item.contexts = {absl::StrCat("Question: ", parts.stem, "\nAnswer:")};
  item.choices = std::move(parts.texts);
  item.id = record.TextOrEmpty(record.Has("id") ? "id" : "questionID");
  return item;
}

}  // namespace

extern const TaskLayout kArcLayout;
const TaskLayout kArcLayout = {"arc",
                               "ARC",
                               "Clark et al. 2018",
                               Matches,
                               Read,
                               nullptr,
                               {{"acc_norm", MetricKind::kAccNorm},
                                {"acc", MetricKind::kAcc},
                                {"acc_token", MetricKind::kAccToken}},
                               /*takes_examples=*/true};

}  // namespace narrow
