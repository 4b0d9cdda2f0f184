#include "converter/mix/file_type.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

constexpr FileTypeInfo kFileTypes[] = {
#define NARROW_FILE_TYPE(enumerator, name, id, default_type) \
  {FileType::enumerator, name, id, QuantType::default_type},
#include "converter/mix/file_types.inc"
#undef NARROW_FILE_TYPE
};

struct Alias {
  const char* name;
  FileType type;
};

constexpr Alias kAliases[] = {
    {"Q3_K", FileType::kQ3_K_M},
    {"Q4_K", FileType::kQ4_K_M},
    {"Q5_K", FileType::kQ5_K_M},
};

}  // namespace

absl::Span<const FileTypeInfo> AllFileTypes() { return kFileTypes; }

const FileTypeInfo& Info(FileType type) {
  return kFileTypes[static_cast<size_t>(type)];
}

absl::StatusOr<FileType> ParseFileType(absl::string_view name) {
  std::vector<std::string> names;
  int number = -1;
  const bool is_number = absl::SimpleAtoi(name, &number);
  for (const FileTypeInfo& row : kFileTypes) {
    if (absl::EqualsIgnoreCase(name, row.name) ||
        (is_number && number == row.id)) {
      return row.type;
    }
    names.push_back(row.name);
  }
  for (const Alias& alias : kAliases) {
    if (absl::EqualsIgnoreCase(name, alias.name)) {
      return alias.type;
    }
  }
  return absl::NotFoundError(absl::StrCat(
      "there is no file type '", name, "'; the nearest is ",
      NearestName(name, names), "; `narrow types` lists them all"));
}

}  // namespace narrow
