// Tested by: layouts_test.

#include "validate/tasks/layouts/lettered.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kMaxChoices = 26;

bool IsLetter(absl::string_view text) {
  return text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z';
}

// Question, three choices at least, and a letter.
bool IsRow(const Record& record) {
  const size_t n = record.fields().size();
  return n >= 4 && record.Has("0") &&
         IsLetter(Stripped(record.TextOrEmpty(absl::StrCat(n - 1))));
}

// The columns of the choices: choice0, choice1 …; A, B …; or 1, 2 … up to the
// one before the last.
std::vector<std::string> ChoiceColumns(const Record& record) {
  std::vector<std::string> columns;
  const auto add_while_there = [&](auto name_of) {
    for (int64_t i = 0; i < kMaxChoices && record.Has(name_of(i)); ++i) {
      columns.push_back(name_of(i));
    }
  };
  if (record.Has("choice0")) {
    add_while_there([](int64_t i) { return absl::StrCat("choice", i); });
  } else if (record.Has("A")) {
    add_while_there([](int64_t i) { return Letter(i); });
  } else if (record.Has("0")) {
    add_while_there([](int64_t i) { return absl::StrCat(i + 1); });
    if (!columns.empty()) {
      columns.pop_back();  // the answer
    }
  }
  return columns;
}

std::string FirstName(const Record& record,
                      std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (record.Has(name)) {
      return name;
    }
  }
  return *names.begin();
}

absl::StatusOr<std::vector<std::string>> ReadChoices(const Record& record) {
  if (record.HasList("choices")) {
    return record.List("choices");
  }
  std::vector<std::string> choices;
  for (const std::string& column : ChoiceColumns(record)) {
    ASSIGN_OR_RETURN(std::string choice, record.Text(column));
    choices.push_back(std::move(choice));
  }
  return choices;
}

absl::StatusOr<int64_t> ReadAnswer(const Record& record, int64_t n_choices) {
  const std::string column = record.Has("0")
                                 ? absl::StrCat(record.fields().size() - 1)
                                 : FirstName(record, {"answer", "Answer"});
  ASSIGN_OR_RETURN(const std::string text, record.Text(column));
  const std::string answer = Stripped(text);
  if (!IsLetter(answer)) {
    return record.Index(column, n_choices);
  }
  if (answer[0] - 'A' >= n_choices) {
    return record.Error(absl::StrCat("the right answer is ", answer,
                                     ", the question has ", n_choices,
                                     " choices"));
  }
  return answer[0] - 'A';
}

}  // namespace

bool IsLettered(const Record& record) {
  const bool has_answer = record.Has("answer") || record.Has("Answer");
  const bool has_question = record.Has("question") || record.Has("Question");
  return (has_answer && has_question &&
          (record.HasList("choices") || !ChoiceColumns(record).empty())) ||
         IsRow(record);
}

absl::StatusOr<TaskItem> ReadLettered(const Record& record) {
  TaskItem item;
  ASSIGN_OR_RETURN(
      const std::string question,
      record.Text(FirstName(record, {"question", "Question", "0"})));
  ASSIGN_OR_RETURN(const auto choices, ReadChoices(record));
  const int64_t n = static_cast<int64_t>(choices.size());
  if (n < 2 || n > kMaxChoices) {
    return record.Error(
        absl::StrCat("the question has ", n, " choices, 2 to 26 are expected"));
  }
  std::string text = absl::StrCat(Stripped(question), "\n");
  for (int64_t i = 0; i < n; ++i) {
    absl::StrAppend(&text, Letter(i), ". ", choices[i], "\n");
    item.choices.push_back(Letter(i));
  }
  item.contexts = {absl::StrCat(text, "Answer:")};
  ASSIGN_OR_RETURN(item.gold, ReadAnswer(record, n));
  return item;
}

std::string LetteredDescription(const std::string& subject) {
  const std::string about =
      subject.empty()
          ? ""
          : absl::StrCat(" about ", absl::StrReplaceAll(subject, {{"_", " "}}));
  return absl::StrCat(
      "The following are multiple choice questions (with "
      "answers)",
      about, ".\n\n");
}

std::string SubjectOfFile(absl::string_view path) {
  absl::string_view name = path.substr(path.rfind('/') + 1);
  name = name.substr(0, name.rfind('.'));
  for (absl::string_view ending :
       {"_test", "_dev", "_val", "_validation", "_auxiliary_train"}) {
    if (absl::ConsumeSuffix(&name, ending)) {
      break;
    }
  }
  return std::string(name);
}

}  // namespace narrow
