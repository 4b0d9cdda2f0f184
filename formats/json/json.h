// JSON as model folders hold it: config.json, tokenizer.json, the header of a
// safetensors file.
//
//   ASSIGN_OR_RETURN(auto doc, JsonDocument::ReadFile("config.json"));
//   ASSIGN_OR_RETURN(JsonValue layers, doc->root().Get("num_hidden_layers"));
//   ASSIGN_OR_RETURN(int64_t n_layers, layers.GetInteger());
//   if (auto scaling = doc->root().FindNonNull("rope_scaling")) ...
//
// Every error is DataLoss (ResourceExhausted for limits) and says what was
// expected, what was found, at which path of the document, in which file.
// Accepted beyond the standard, because Python writes and reads them: integers
// too large for 64 bits (read as doubles), NaN and Infinity (read as null).
//
// A JsonValue, and every string it gives, borrows from its document. Both are
// immutable and safe to share between threads.

#ifndef NARROW_FORMATS_JSON_JSON_H_
#define NARROW_FORMATS_JSON_JSON_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

class JsonDocument;

class JsonValue {
 public:
  using Member = std::pair<absl::string_view, JsonValue>;

  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_bool() const;
  bool is_null() const;
  // An integer of 64 bits, written without point and exponent.
  bool is_integer() const;
  // An integer or a double.
  bool is_number() const;

  absl::StatusOr<absl::string_view> GetString() const;
  absl::StatusOr<int64_t> GetInteger() const;  // also refuses above 2^63 - 1
  absl::StatusOr<double> GetNumber() const;
  absl::StatusOr<bool> GetBool() const;
  absl::StatusOr<std::vector<JsonValue>> GetElements() const;
  // In the order of the file, repeated keys included.
  absl::StatusOr<std::vector<Member>> GetMembers() const;

  // The member of that name: the last one if it is repeated, as in Python.
  // Walks all members: for objects of thousands use GetMembers once. Find
  // gives nullopt when there is none or this is not an object; FindNonNull
  // also when it is null; Get fails instead.
  std::optional<JsonValue> Find(absl::string_view key) const;
  std::optional<JsonValue> FindNonNull(absl::string_view key) const;
  absl::StatusOr<JsonValue> Get(absl::string_view key) const;

  // The first key that occurs twice in this object (not in those below it).
  std::optional<absl::string_view> FindRepeatedKey() const;

  // "model.merges[3]"; "the top" for the root. Searches the document, so it
  // is for messages.
  std::string Path() const;
  // DataLoss: "<cause>; at <path>; reading <file>".
  absl::Status Error(absl::string_view cause) const;

 private:
  friend class JsonDocument;
  struct Access;  // the bridge to the parser's own element type

  const JsonDocument* document_ = nullptr;
  uint64_t element_[2] = {};
};

class JsonDocument {
 public:
  struct Limits {
    int64_t max_bytes = int64_t{1} << 30;
    int max_depth = 128;
  };

  // `file` is for messages only.
  static absl::StatusOr<std::unique_ptr<const JsonDocument>> Parse(
      absl::string_view text, absl::string_view file);
  static absl::StatusOr<std::unique_ptr<const JsonDocument>> Parse(
      absl::string_view text, absl::string_view file, const Limits& limits);
  static absl::StatusOr<std::unique_ptr<const JsonDocument>> ReadFile(
      absl::string_view path);
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  JsonValue root() const;
  const std::string& file() const { return file_; }

 private:
  friend class JsonValue;
  struct Parsed;  // keeps the parser out of this header

  JsonDocument(std::string file, std::unique_ptr<Parsed> parsed);

  std::string file_;
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_JSON_JSON_H_
