// HellaSwag: which of four endings goes on from a scene (Zellers et al., "Can
// a Machine Really Finish Your Sentence?", ACL 2019).
//
// Records of github.com/rowanz/hellaswag and of its copies: ctx_a, ctx_b,
// activity_label, endings, label. The endings of half of them come from
// WikiHow with marks in brackets, which are taken out as the harness does.
// Blocks of six lines, which llama.cpp's tools read, have that behind them and
// are taken as they are: context, place of the right ending, four endings.

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/values/text.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {
namespace {

constexpr int64_t kEndings = 4;

bool IsBlock(const Record& record) {
  const std::string second = record.TextOrEmpty("1");
  return record.fields().size() == 6 && second.size() == 1 &&
         absl::ascii_isdigit(second[0]);
}

bool Matches(const Record& record) {
  return record.HasList("endings") || IsBlock(record);
}

// Without what stands in brackets on one line; "[a] [b]" are two marks.
std::string WithoutBrackets(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find('[');
    const size_t close = text.find_first_of("]\n", open);
    if (open == absl::string_view::npos || close == absl::string_view::npos) {
      break;
    }
    const bool is_mark = text[close] == ']';
    out.append(text.data(), is_mark ? open : open + 1);
    text.remove_prefix((is_mark ? close : open) + 1);
  }
  return absl::StrCat(out, text);
}

std::string Clean(absl::string_view text) {
  const std::string titled =
      jinja::Replace(Stripped(text), " [title]", ". ", -1);
  return jinja::Replace(WithoutBrackets(titled), "  ", " ", -1);
}

absl::StatusOr<TaskItem> ReadBlock(const Record& record) {
  TaskItem item;
  ASSIGN_OR_RETURN(std::string context, record.Text("0"));
  item.contexts = {std::move(context)};
  ASSIGN_OR_RETURN(item.gold, record.Index("1", kEndings));
  for (int64_t i = 0; i < kEndings; ++i) {
    ASSIGN_OR_RETURN(std::string ending, record.Text(absl::StrCat(i + 2)));
    item.choices.push_back(std::move(ending));
  }
  return item;
}

absl::StatusOr<TaskItem> Read(const Record& record) {
  if (IsBlock(record)) {
    return ReadBlock(record);
  }
  TaskItem item;
  std::string context = record.TextOrEmpty("ctx");
  if (record.Has("ctx_a")) {
    ASSIGN_OR_RETURN(context, record.Text("ctx_a"));
    absl::StrAppend(&context, " ",
                    jinja::Capitalize(record.TextOrEmpty("ctx_b")));
  }
  if (context.empty()) {
    return record.Error("the question has no field 'ctx_a' and no 'ctx'");
  }
  ASSIGN_OR_RETURN(const std::string activity, record.Text("activity_label"));
  item.contexts = {Clean(absl::StrCat(activity, ": ", context))};
  ASSIGN_OR_RETURN(const auto endings, record.List("endings"));
  for (const std::string& ending : endings) {
    item.choices.push_back(Clean(ending));
  }
  if (record.TextOrEmpty("label").empty()) {
    return record.Error(
        "the question has no 'label'; the answers of HellaSwag's test set are "
        "not published, take hellaswag_val.jsonl");
  }
  ASSIGN_OR_RETURN(item.gold, record.Index("label", endings.size()));
  item.id = record.TextOrEmpty("ind");
  return item;
}

}  // namespace

extern const TaskLayout kHellaswagLayout;
const TaskLayout kHellaswagLayout = {"hellaswag",
                                     "HellaSwag",
                                     "Zellers et al. 2019",
                                     Matches,
                                     Read,
                                     nullptr,
                                     {{"acc_norm", MetricKind::kAccNorm},
                                      {"acc", MetricKind::kAcc},
                                      {"acc_token", MetricKind::kAccToken}},
                                     /*takes_examples=*/true};

}  // namespace narrow
