#include "formats/json/json.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/lfs_pointer.h"
#include "formats/base/status.h"
#include "formats/json/json_scan.h"
#include "simdjson.h"

namespace narrow {

namespace dom = simdjson::dom;

struct JsonDocument::Parsed {
  dom::document document;
};

struct JsonValue::Access {
  static_assert(sizeof(dom::element) == sizeof(uint64_t[2]),
                "an element is a document and a place in it");

  static JsonValue Wrap(const JsonDocument* document, dom::element element) {
    JsonValue value;
    value.document_ = document;
    std::memcpy(static_cast<void*>(value.element_), &element, sizeof(element));
    return value;
  }

  static dom::element Element(const JsonValue& value) {
    dom::element element;
    if (value.document_ != nullptr) {
      std::memcpy(static_cast<void*>(&element), value.element_,
                  sizeof(element));
    }
    return element;
  }

  static bool Is(const JsonValue& value, dom::element_type type) {
    return value.document_ != nullptr && Element(value).type() == type;
  }

  static absl::Status WrongType(const JsonValue& value,
                                absl::string_view expected);

  // Appends the way from `from` to `to`; false if `to` is not below `from`.
  static bool FindPath(dom::element from, const JsonValue& to,
                       std::string* path);
};

namespace {

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view StdView(absl::string_view text) {
  return {text.data(), text.size()};
}

// A key as a path shows it. Keys that need quotes get them.
std::string Shown(std::string_view key) {
  const std::string quoted = QuotedName(View(key));
  const bool plain =
      quoted.size() == key.size() + 2 && quoted.find(' ') == quoted.npos;
  return plain ? std::string(key) : quoted;
}

const char* Describe(dom::element_type type) {
  switch (type) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

std::string ApplyRewrites(absl::string_view text,
                          const std::vector<JsonRewrite>& rewrites) {
  std::string result;
  size_t copied = 0;
  for (const JsonRewrite& rewrite : rewrites) {
    absl::StrAppend(&result, text.substr(copied, rewrite.offset - copied),
                    rewrite.replacement);
    copied = rewrite.offset + rewrite.length;
  }
  absl::StrAppend(&result, text.substr(copied));
  return result;
}

simdjson::error_code ParseInto(absl::string_view text, int max_depth,
                               dom::document* document) {
  dom::parser parser;
  // One level more than allowed: the parser counts the document itself.
  const auto error = parser.allocate(std::max<size_t>(text.size(), 64),
                                     static_cast<size_t>(max_depth) + 1);
  if (error != simdjson::SUCCESS) {
    return error;
  }
  return parser
      .parse_into_document(*document,
                           reinterpret_cast<const uint8_t*>(text.data()),
                           text.size(), /*realloc_if_needed=*/true)
      .error();
}

// Why the parser refused `text`, with the place where that can be found.
absl::Status ParseError(simdjson::error_code error, absl::string_view text,
                        const JsonScan& scan, absl::string_view file) {
  RETURN_IF_ERROR(CheckNotLfsPointer(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                          text.size()),
      file));
  if (!scan.error.empty()) {
    return absl::DataLossError(absl::StrCat(
        "not valid JSON: ", scan.error, "; at ",
        LineAndColumn(text, scan.error_offset), "; reading ", file));
  }
  return absl::DataLossError(absl::StrCat(
      "not valid JSON: ", simdjson::error_message(error), "; reading ", file));
}

}  // namespace

absl::Status JsonValue::Access::WrongType(const JsonValue& value,
                                          absl::string_view expected) {
  if (value.document_ == nullptr) {
    return absl::FailedPreconditionError("JSON value without a document");
  }
  return value.Error(absl::StrCat("expected ", expected, ", found ",
                                  Describe(Element(value).type())));
}

bool JsonValue::Access::FindPath(dom::element from, const JsonValue& to,
                                 std::string* path) {
  if (std::memcmp(&from, to.element_, sizeof(to.element_)) == 0) {
    return true;
  }
  const size_t length = path->size();
  dom::object object;
  if (from.get(object) == simdjson::SUCCESS) {
    for (const dom::key_value_pair& member : object) {
      absl::StrAppend(path, path->empty() ? "" : ".", Shown(member.key));
      if (FindPath(member.value, to, path)) {
        return true;
      }
      path->resize(length);
    }
  }
  dom::array array;
  if (from.get(array) == simdjson::SUCCESS) {
    size_t i = 0;
    for (const dom::element element : array) {
      absl::StrAppend(path, "[", i++, "]");
      if (FindPath(element, to, path)) {
        return true;
      }
      path->resize(length);
    }
  }
  return false;
}

JsonDocument::JsonDocument(std::string file, std::unique_ptr<Parsed> parsed)
    : file_(std::move(file)), parsed_(std::move(parsed)) {}

JsonDocument::~JsonDocument() = default;

absl::StatusOr<std::unique_ptr<const JsonDocument>> JsonDocument::Parse(
    absl::string_view text, absl::string_view file) {
  return Parse(text, file, Limits());
}

absl::StatusOr<std::unique_ptr<const JsonDocument>> JsonDocument::Parse(
    absl::string_view text, absl::string_view file, const Limits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("JSON of ", text.size(), " bytes, at most ",
                     limits.max_bytes, " are accepted; reading ", file));
  }
  if (text.empty()) {
    text = "";  // an empty file's bytes are nowhere; simdjson copies from them
  }
  auto parsed = std::make_unique<Parsed>();
  auto error = ParseInto(text, limits.max_depth, &parsed->document);
  if (error != simdjson::SUCCESS) {
    const JsonScan scan = ScanJson(text, limits.max_depth);
    if (scan.error.empty() && !scan.rewrites.empty()) {
      error = ParseInto(ApplyRewrites(text, scan.rewrites), limits.max_depth,
                        &parsed->document);
    }
    if (error != simdjson::SUCCESS) {
      return ParseError(error, text, scan, file);
    }
  }
  return std::unique_ptr<const JsonDocument>(
      new JsonDocument(std::string(file), std::move(parsed)));
}

absl::StatusOr<std::unique_ptr<const JsonDocument>> JsonDocument::ReadFile(
    absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file->bytes();
  return Parse(absl::string_view(reinterpret_cast<const char*>(bytes.data()),
                                 bytes.size()),
               path);
}

JsonValue JsonDocument::root() const {
  return JsonValue::Access::Wrap(this, parsed_->document.root());
}

bool JsonValue::is_object() const {
  return Access::Is(*this, dom::element_type::OBJECT);
}

bool JsonValue::is_array() const {
  return Access::Is(*this, dom::element_type::ARRAY);
}

bool JsonValue::is_string() const {
  return Access::Is(*this, dom::element_type::STRING);
}

bool JsonValue::is_bool() const {
  return Access::Is(*this, dom::element_type::BOOL);
}

bool JsonValue::is_null() const {
  return Access::Is(*this, dom::element_type::NULL_VALUE);
}

bool JsonValue::is_integer() const {
  return Access::Is(*this, dom::element_type::INT64) ||
         Access::Is(*this, dom::element_type::UINT64);
}

bool JsonValue::is_number() const {
  return is_integer() || Access::Is(*this, dom::element_type::DOUBLE);
}

absl::StatusOr<absl::string_view> JsonValue::GetString() const {
  std::string_view text;
  if (!is_string() || Access::Element(*this).get(text) != simdjson::SUCCESS) {
    return Access::WrongType(*this, "a string");
  }
  return View(text);
}

absl::StatusOr<int64_t> JsonValue::GetInteger() const {
  if (!is_integer()) {
    return Access::WrongType(*this, "an integer");
  }
  int64_t value;
  if (Access::Element(*this).get(value) != simdjson::SUCCESS) {
    return Error(
        absl::StrCat("integer above ", std::numeric_limits<int64_t>::max()));
  }
  return value;
}

absl::StatusOr<double> JsonValue::GetNumber() const {
  double value;
  if (!is_number() || Access::Element(*this).get(value) != simdjson::SUCCESS) {
    return Access::WrongType(*this, "a number");
  }
  return value;
}

absl::StatusOr<bool> JsonValue::GetBool() const {
  bool value;
  if (!is_bool() || Access::Element(*this).get(value) != simdjson::SUCCESS) {
    return Access::WrongType(*this, "true or false");
  }
  return value;
}

absl::StatusOr<std::vector<JsonValue>> JsonValue::GetElements() const {
  dom::array array;
  if (!is_array() || Access::Element(*this).get(array) != simdjson::SUCCESS) {
    return Access::WrongType(*this, "an array");
  }
  std::vector<JsonValue> elements;
  for (const dom::element element : array) {
    elements.push_back(Access::Wrap(document_, element));
  }
  return elements;
}

absl::StatusOr<std::vector<JsonValue::Member>> JsonValue::GetMembers() const {
  dom::object object;
  if (!is_object() || Access::Element(*this).get(object) != simdjson::SUCCESS) {
    return Access::WrongType(*this, "an object");
  }
  std::vector<Member> members;
  for (const dom::key_value_pair& member : object) {
    members.emplace_back(View(member.key),
                         Access::Wrap(document_, member.value));
  }
  return members;
}

std::optional<JsonValue> JsonValue::Find(absl::string_view key) const {
  dom::object object;
  if (!is_object() || Access::Element(*this).get(object) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  std::optional<JsonValue> found;
  for (const dom::key_value_pair& member : object) {
    if (member.key == StdView(key)) {
      found = Access::Wrap(document_, member.value);
    }
  }
  return found;
}

std::optional<JsonValue> JsonValue::FindNonNull(absl::string_view key) const {
  std::optional<JsonValue> found = Find(key);
  return found.has_value() && !found->is_null() ? found : std::nullopt;
}

absl::StatusOr<JsonValue> JsonValue::Get(absl::string_view key) const {
  if (!is_object()) {
    return Access::WrongType(*this, "an object");
  }
  const std::optional<JsonValue> found = Find(key);
  if (!found.has_value()) {
    return Error(absl::StrCat("key ", QuotedName(key), " is missing"));
  }
  return *found;
}

std::optional<absl::string_view> JsonValue::FindRepeatedKey() const {
  dom::object object;
  if (!is_object() || Access::Element(*this).get(object) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  std::unordered_set<std::string_view> seen;
  for (const dom::key_value_pair& member : object) {
    if (!seen.insert(member.key).second) {
      return View(member.key);
    }
  }
  return std::nullopt;
}

std::string JsonValue::Path() const {
  std::string path;
  if (document_ != nullptr) {
    Access::FindPath(document_->parsed_->document.root(), *this, &path);
  }
  return path.empty() ? "the top" : path;
}

absl::Status JsonValue::Error(absl::string_view cause) const {
  return absl::DataLossError(
      absl::StrCat(cause, "; at ", Path(), "; reading ",
                   document_ == nullptr ? "nothing" : document_->file()));
}

}  // namespace narrow
