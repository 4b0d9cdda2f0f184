#include "validate/tasks/records.h"

#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/json/json.h"
#include "validate/tasks/csv.h"

namespace narrow {
namespace {

// The largest published set, MMLU in one file, has 170 MB.
constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
// Choices of a question and fields of a record; published ones have 30.
constexpr size_t kMaxListSize = 4096;
constexpr int kMaxDepth = 4;
constexpr size_t kBlockLines = 6;

absl::StatusOr<std::string> ScalarText(const JsonValue& value) {
  if (value.is_string()) {
    ASSIGN_OR_RETURN(const absl::string_view text, value.GetString());
    return std::string(text);
  }
  if (value.is_integer()) {
    ASSIGN_OR_RETURN(const int64_t number, value.GetInteger());
    return absl::StrCat(number);
  }
  if (value.is_bool()) {
    ASSIGN_OR_RETURN(const bool truth, value.GetBool());
    return std::string(truth ? "1" : "0");
  }
  if (value.is_number()) {
    ASSIGN_OR_RETURN(const double number, value.GetNumber());
    return absl::StrCat(number);
  }
  return value.Error("expected a text or a number");
}

// Takes a JSON object apart into the fields of a record.
class FieldReader {
 public:
  explicit FieldReader(std::vector<Field>* fields) : fields_(fields) {}

  absl::Status Add(const std::string& name, const JsonValue& value, int depth) {
    if (value.is_null()) {
      return absl::OkStatus();
    }
    if (fields_->size() > kMaxListSize || depth > kMaxDepth) {
      return value.Error("the record has too many fields for a question");
    }
    if (value.is_object()) {
      return AddObject(name, value, depth);
    }
    if (value.is_array()) {
      return AddList(name, value);
    }
    ASSIGN_OR_RETURN(std::string text, ScalarText(value));
    fields_->push_back({name, false, {std::move(text)}});
    return absl::OkStatus();
  }

  absl::Status AddObject(const std::string& name, const JsonValue& value,
                         int depth) {
    ASSIGN_OR_RETURN(const auto members, value.GetMembers());
    Field keys = {absl::StrCat(name, ".(keys)"), true, {}};
    for (const auto& [key, member] : members) {
      const std::string path =
          name.empty() ? std::string(key) : absl::StrCat(name, ".", key);
      RETURN_IF_ERROR(Add(path, member, depth + 1));
      // TruthfulQA's answers are keys, their truth the value.
      if (!name.empty() && member.is_integer()) {
        keys.texts.emplace_back(key);
      }
    }
    if (!keys.texts.empty()) {
      fields_->push_back(std::move(keys));
    }
    return absl::OkStatus();
  }

  absl::Status AddList(const std::string& name, const JsonValue& value) {
    ASSIGN_OR_RETURN(const auto elements, value.GetElements());
    if (elements.size() > kMaxListSize) {
      return value.Error(absl::StrCat("the list has ", elements.size(),
                                      " elements, more than ", kMaxListSize));
    }
    if (!elements.empty() && elements[0].is_object()) {
      return AddObjects(name, elements);
    }
    Field list = {name, true, {}};
    for (const JsonValue& element : elements) {
      // Lists of lists (HellaSwag's source ids) are of no use here.
      if (element.is_array() || element.is_object() || element.is_null()) {
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(std::string text, ScalarText(element));
      list.texts.push_back(std::move(text));
    }
    fields_->push_back(std::move(list));
    return absl::OkStatus();
  }

  // [{"text": "a", "label": "A"}, …] as the lists "name.text", "name.label".
  absl::Status AddObjects(const std::string& name,
                          const std::vector<JsonValue>& elements) {
    const size_t first = fields_->size();
    for (const JsonValue& element : elements) {
      if (!element.is_object()) {
        return element.Error("expected an object like the ones before it");
      }
      ASSIGN_OR_RETURN(const auto members, element.GetMembers());
      for (const auto& [key, member] : members) {
        if (member.is_array() || member.is_object() || member.is_null()) {
          continue;
        }
        ASSIGN_OR_RETURN(std::string text, ScalarText(member));
        ListAt(first, absl::StrCat(name, ".", key))
            ->texts.push_back(std::move(text));
      }
      if (fields_->size() > kMaxListSize) {
        return element.Error("the record has too many fields for a question");
      }
    }
    return absl::OkStatus();
  }

 private:
  Field* ListAt(size_t first, const std::string& name) {
    for (size_t i = first; i < fields_->size(); ++i) {
      if ((*fields_)[i].name == name) {
        return &(*fields_)[i];
      }
    }
    fields_->push_back({name, true, {}});
    return &fields_->back();
  }

  std::vector<Field>* const fields_;
};

absl::StatusOr<Record> RecordOfJson(const JsonValue& value,
                                    const std::string& path, int64_t line) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a question is expected as a JSON object; line ", line,
                     "; reading ", path));
  }
  std::vector<Field> fields;
  const absl::Status status = FieldReader(&fields).AddObject("", value, 0);
  if (!status.ok()) {
    return absl::InvalidArgumentError(status.message());
  }
  return Record(path, line, std::move(fields));
}

absl::Status TooLong(int64_t n_bytes, int64_t line, const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the record has ", n_bytes, " bytes, more than ", kMaxRecordBytes,
      "; no question is that long; line ", line, "; reading ", path));
}

absl::Status ReadJsonLines(absl::string_view bytes, RecordFile* file) {
  int64_t line = 0;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const absl::string_view text =
        absl::StripAsciiWhitespace(bytes.substr(0, end));
    bytes.remove_prefix(end == absl::string_view::npos ? bytes.size()
                                                       : end + 1);
    ++line;
    if (text.empty()) {
      continue;
    }
    if (static_cast<int64_t>(text.size()) > kMaxRecordBytes) {
      return TooLong(text.size(), line, file->path);
    }
    const auto document = JsonDocument::Parse(
        text, absl::StrCat("line ", line, " of ", file->path));
    if (!document.ok()) {
      return absl::InvalidArgumentError(document.status().message());
    }
    ASSIGN_OR_RETURN(Record record,
                     RecordOfJson((*document)->root(), file->path, line));
    file->records.push_back(std::move(record));
  }
  return absl::OkStatus();
}

absl::Status ReadJsonArray(absl::string_view bytes, RecordFile* file) {
  const auto document = JsonDocument::Parse(bytes, file->path);
  if (!document.ok()) {
    return absl::InvalidArgumentError(document.status().message());
  }
  ASSIGN_OR_RETURN(const auto elements, (*document)->root().GetElements());
  int64_t number = 0;
  for (const JsonValue& element : elements) {
    ASSIGN_OR_RETURN(Record record,
                     RecordOfJson(element, file->path, ++number));
    file->records.push_back(std::move(record));
  }
  return absl::OkStatus();
}

// Names of columns: words, no field of them twice, and more than one. A
// question of a file without a header is a sentence, its answers differ in
// spelling from names.
bool IsHeader(const std::vector<std::string>& fields) {
  static constexpr absl::string_view kNames[] = {
      "question", "sentence", "ctx", "ctx_a", "answer", "answerkey"};
  for (const std::string& field : fields) {
    const std::string lower = absl::AsciiStrToLower(field);
    for (absl::string_view name : kNames) {
      if (lower == name && fields.size() > 1) {
        return true;
      }
    }
  }
  return false;
}

std::vector<std::string> Numbers(size_t n) {
  std::vector<std::string> names;
  for (size_t i = 0; i < n; ++i) {
    names.push_back(absl::StrCat(i));
  }
  return names;
}

absl::Status ReadCsv(absl::string_view bytes, RecordFile* file) {
  CsvReader csv(bytes, file->path);
  std::vector<std::string> names;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, csv.Next());
    if (!more) {
      return absl::OkStatus();
    }
    std::vector<std::string> row = csv.TakeFields();
    if (names.empty()) {
      const bool header = IsHeader(row);
      names = header ? row : Numbers(row.size());
      if (names.size() > kMaxListSize) {
        return absl::InvalidArgumentError(
            absl::StrCat("the first row has ", names.size(),
                         " columns; reading ", file->path));
      }
      if (header) {
        continue;
      }
    }
    if (row.size() != names.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the row has ", row.size(), " fields, the first one has ",
          names.size(), "; line ", csv.line(), "; reading ", file->path));
    }
    std::vector<Field> fields;
    for (size_t i = 0; i < row.size(); ++i) {
      fields.push_back({names[i], false, {std::move(row[i])}});
    }
    file->records.emplace_back(file->path, csv.line(), std::move(fields));
  }
}

std::vector<absl::string_view> Lines(absl::string_view bytes) {
  std::vector<absl::string_view> lines = absl::StrSplit(bytes, '\n');
  for (absl::string_view& line : lines) {
    line = absl::StripSuffix(line, "\r");
  }
  while (!lines.empty() && lines.back().empty()) {
    lines.pop_back();
  }
  return lines;
}

// Whether the second line is a digit alone, as in HellaSwag's blocks.
bool LooksLikeBlocks(absl::string_view bytes) {
  const std::vector<absl::string_view> first = absl::StrSplit(
      bytes.substr(0, kMaxRecordBytes), absl::MaxSplits('\n', 2));
  if (first.size() < 3) {
    return false;
  }
  const absl::string_view second = absl::StripAsciiWhitespace(first[1]);
  return second.size() == 1 && absl::ascii_isdigit(second[0]);
}

absl::Status ReadBlocks(absl::string_view bytes, RecordFile* file) {
  const std::vector<absl::string_view> lines = Lines(bytes);
  for (size_t i = 0; i < lines.size(); i += kBlockLines) {
    const int64_t number = static_cast<int64_t>(i) + 1;
    if (lines.size() - i < kBlockLines) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a question has six lines (context, place of the right ending, "
          "four endings), the last one has ",
          lines.size() - i, "; line ", number, "; reading ", file->path));
    }
    std::vector<Field> fields;
    for (size_t k = 0; k < kBlockLines; ++k) {
      if (static_cast<int64_t>(lines[i + k].size()) > kMaxRecordBytes) {
        return TooLong(lines[i + k].size(), number + k, file->path);
      }
      if (!utf8::IsValid(lines[i + k])) {
        return absl::InvalidArgumentError(
            absl::StrCat("the line is not UTF-8; line ", number + k,
                         "; reading ", file->path));
      }
      fields.push_back({absl::StrCat(k), false, {std::string(lines[i + k])}});
    }
    file->records.emplace_back(file->path, number, std::move(fields));
  }
  return absl::OkStatus();
}

// A message for archives, which people name by mistake.
absl::Status CheckPlain(absl::string_view bytes, const std::string& path) {
  const bool bzip2 = absl::StartsWith(bytes, "BZh");
  const bool gzip = absl::StartsWith(bytes, "\x1f\x8b");
  const bool zip = absl::StartsWith(bytes, "PK\x03\x04");
  const bool parquet = absl::StartsWith(bytes, "PAR1");
  if (bzip2 || gzip || zip) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file is compressed; unpack it first (",
                     bzip2  ? "bunzip2 -k"
                     : gzip ? "gunzip -k"
                            : "unzip",
                     "); reading ", path));
  }
  if (parquet) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the file is Parquet; questions are read from JSONL, JSON arrays and "
        "CSV; reading ",
        path));
  }
  return absl::OkStatus();
}

}  // namespace

Record::Record(std::string file, int64_t line, std::vector<Field> fields)
    : file_(std::move(file)), line_(line), fields_(std::move(fields)) {}

// The last one of a repeated name, as in Python.
const Field* Record::Find(absl::string_view name) const {
  for (size_t i = fields_.size(); i-- > 0;) {
    if (fields_[i].name == name) {
      return &fields_[i];
    }
  }
  return nullptr;
}

bool Record::HasList(absl::string_view name) const {
  const Field* field = Find(name);
  return field != nullptr && field->is_list;
}

absl::Status Record::Error(absl::string_view cause) const {
  return absl::InvalidArgumentError(
      absl::StrCat(cause, "; line ", line_, "; reading ", file_));
}

absl::StatusOr<std::string> Record::Text(absl::string_view name) const {
  const Field* field = Find(name);
  if (field == nullptr) {
    return Error(absl::StrCat("the question has no field ", QuotedName(name)));
  }
  if (field->is_list) {
    return Error(absl::StrCat("field ", QuotedName(name),
                              " is a list, a text is expected"));
  }
  return field->texts[0];
}

absl::StatusOr<std::vector<std::string>> Record::List(
    absl::string_view name) const {
  const Field* field = Find(name);
  if (field == nullptr) {
    return Error(absl::StrCat("the question has no list ", QuotedName(name)));
  }
  if (!field->is_list) {
    return Error(absl::StrCat("field ", QuotedName(name),
                              " is no list, one is expected"));
  }
  return field->texts;
}

std::string Record::TextOrEmpty(absl::string_view name) const {
  const Field* field = Find(name);
  return field == nullptr || field->is_list ? std::string() : field->texts[0];
}

absl::StatusOr<int64_t> Record::Index(absl::string_view name, int64_t n) const {
  ASSIGN_OR_RETURN(const std::string text, Text(name));
  int64_t index = 0;
  if (!absl::SimpleAtoi(text, &index)) {
    return Error(absl::StrCat("field ", QuotedName(name), " is ",
                              QuotedName(text),
                              ", the place of a choice is expected (from 0)"));
  }
  if (index < 0 || index >= n) {
    return Error(absl::StrCat("field ", QuotedName(name), " names choice ",
                              index, ", the question has ", n,
                              " (counted from 0)"));
  }
  return index;
}

absl::StatusOr<RecordFile> ParseRecords(absl::string_view text,
                                        const std::string& path) {
  RecordFile file;
  file.path = path;
  RETURN_IF_ERROR(CheckPlain(text, path));
  const absl::string_view bytes = absl::StripPrefix(text, "\xef\xbb\xbf");
  const absl::string_view content = absl::StripLeadingAsciiWhitespace(bytes);
  if (absl::StartsWith(content, "{")) {
    RETURN_IF_ERROR(ReadJsonLines(bytes, &file));
  } else if (absl::StartsWith(content, "[")) {
    RETURN_IF_ERROR(ReadJsonArray(bytes, &file));
  } else if (LooksLikeBlocks(bytes)) {
    RETURN_IF_ERROR(ReadBlocks(bytes, &file));
  } else {
    RETURN_IF_ERROR(ReadCsv(bytes, &file));
  }
  if (file.records.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no question in it; reading ", path));
  }
  return file;
}

absl::StatusOr<RecordFile> ReadRecords(const std::string& path) {
  auto text = ReadTextFile(path, kMaxFileBytes);
  RETURN_IF_ERROR(text.status());
  return ParseRecords(*text, path);
}

}  // namespace narrow
