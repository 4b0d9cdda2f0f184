// Writes JSON as a stream of calls.
//
//   JsonWriter json(JsonWriter::kCompact);
//   json.BeginObject();
//   json.Key("perplexity").Number(5.8);
//   json.Key("files").BeginArray().String("a").String("b").EndArray();
//   json.EndObject();
//   WriteTextFile(path, json.text());
//
// The text is valid JSON when calls are balanced, which is the caller's
// promise (asserted). A plain value, owned by one thread at a time.

#ifndef NARROW_FORMATS_JSON_JSON_WRITER_H_
#define NARROW_FORMATS_JSON_JSON_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

class JsonWriter {
 public:
  enum Style {
    kCompact,   // no space at all, as in a safetensors header
    kIndented,  // two spaces a level, for people
  };

  explicit JsonWriter(Style style) : style_(style) {}

  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  // REQUIRES: directly inside an object; a value follows.
  JsonWriter& Key(absl::string_view key);

  // Bytes that are not UTF-8 become U+FFFD, one each.
  JsonWriter& String(absl::string_view text);
  JsonWriter& Integer(int64_t value);
  JsonWriter& Unsigned(uint64_t value);
  // The fewest digits that read back as the same double (or float); null if
  // it is not finite, since JSON has no word for that.
  JsonWriter& Number(double value);
  JsonWriter& Number(float value);
  // The same with a point in whole numbers ("50.0"), for readers that tell
  // integers from floating point.
  JsonWriter& Real(float value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  // REQUIRES: every object and array is closed.
  const std::string& text() const;

 private:
  JsonWriter& Word(absl::string_view word);
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void BeforeValue();
  void NewLine();
  void AppendQuoted(absl::string_view text);

  Style style_;
  std::string text_;
  std::string open_;          // the brackets around this place
  bool after_value_ = false;  // a comma precedes the next value or key
  bool after_key_ = false;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_JSON_JSON_WRITER_H_
