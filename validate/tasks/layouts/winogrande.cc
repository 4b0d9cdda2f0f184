// WinoGrande: which of two names fills the gap of a sentence (Sakaguchi et
// al., "WinoGrande: An Adversarial Winograd Schema Challenge at Scale", AAAI
// 2020).
//
// Scored partially: each name is put into the gap, and what is compared is the
// probability of the words after it, which are the same for both (Trinh and
// Le, "A Simple Method for Commonsense Reasoning", 2018). Records: sentence
// with "_", option1, option2, answer 1 or 2; and rows of five columns without
// a header, as llama.cpp's tools read them.

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {
namespace {

struct Names {
  const char* id;
  const char* sentence;
  const char* options[2];
  const char* answer;
};
constexpr Names kNamed = {"qID", "sentence", {"option1", "option2"}, "answer"};
constexpr Names kColumns = {"0", "1", {"2", "3"}, "4"};

bool IsRow(const Record& record) {
  const std::string answer = record.TextOrEmpty("4");
  return record.fields().size() == 5 && (answer == "1" || answer == "2") &&
         absl::StrContains(record.TextOrEmpty("1"), "_");
}

bool Matches(const Record& record) {
  return (record.Has("sentence") && record.Has("option1") &&
          record.Has("option2")) ||
         IsRow(record);
}

absl::StatusOr<TaskItem> Read(const Record& record) {
  const Names& names = record.Has("sentence") ? kNamed : kColumns;
  TaskItem item;
  ASSIGN_OR_RETURN(const std::string sentence, record.Text(names.sentence));
  const size_t gap = sentence.find('_');
  if (gap == std::string::npos) {
    return record.Error("the sentence has no gap, '_'");
  }
  const std::string rest =
      Stripped(absl::string_view(sentence).substr(gap + 1));
  if (rest.empty()) {
    return record.Error("nothing follows the gap '_' of the sentence");
  }
  for (const char* name : names.options) {
    ASSIGN_OR_RETURN(const std::string option, record.Text(name));
    item.contexts.push_back(absl::StrCat(sentence.substr(0, gap), option));
    item.choices.push_back(rest);
  }
  ASSIGN_OR_RETURN(const std::string answer, record.Text(names.answer));
  if (answer != "1" && answer != "2") {
    return record.Error(absl::StrCat(
        "the answer is ", QuotedName(answer),
        ", 1 or 2 is expected; the answers of WinoGrande's test set are not "
        "published, take dev.jsonl"));
  }
  item.gold = answer == "1" ? 0 : 1;
  item.id = record.TextOrEmpty(names.id);
  return item;
}

}  // namespace

extern const TaskLayout kWinograndeLayout;
const TaskLayout kWinograndeLayout = {"winogrande",
                                      "WinoGrande",
                                      "Sakaguchi et al. 2020",
                                      Matches,
                                      Read,
                                      nullptr,
                                      {{"acc", MetricKind::kAcc}},
                                      /*takes_examples=*/true};

}  // namespace narrow
