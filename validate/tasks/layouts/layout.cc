// Tested by: layouts_test.

#include "validate/tasks/layouts/layout.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow {

#define NARROW_TASK_LAYOUT(name) extern const TaskLayout k##name##Layout;
#include "validate/tasks/layouts/layouts.inc"
#undef NARROW_TASK_LAYOUT

const std::vector<const TaskLayout*>& TaskLayouts() {
  static const auto& layouts = *new std::vector<const TaskLayout*>{
#define NARROW_TASK_LAYOUT(name) &k##name##Layout,
#include "validate/tasks/layouts/layouts.inc"
#undef NARROW_TASK_LAYOUT
  };
  return layouts;
}

const TaskLayout* FindTaskLayout(absl::string_view name) {
  for (const TaskLayout* layout : TaskLayouts()) {
    if (name == layout->name) {
      return layout;
    }
  }
  return nullptr;
}

absl::StatusOr<const TaskLayout*> DetectTaskLayout(const RecordFile& file) {
  const Record& first = file.records.front();
  for (const TaskLayout* layout : TaskLayouts()) {
    if (layout->matches(first)) {
      return layout;
    }
  }
  std::vector<std::string> fields;
  for (const Field& field : first.fields()) {
    if (fields.size() == 12) {
      fields.push_back("...");
      break;
    }
    fields.push_back(QuotedName(field.name));
  }
  return first.Error(absl::StrCat(
      "the record is of no layout known (",
      absl::StrJoin(TaskLayouts(), ", ",
                    [](std::string* out, const TaskLayout* layout) {
                      out->append(layout->name);
                    }),
      "); its fields are ", absl::StrJoin(fields, ", "),
      "; name the layout, as in --task mmlu=FILE"));
}

std::string Stripped(absl::string_view text) {
  return std::string(jinja::StripSpace(text, jinja::Sides::kBoth));
}

std::string Letter(int64_t choice) {
  return std::string(1, static_cast<char>('A' + choice));
}

}  // namespace narrow
