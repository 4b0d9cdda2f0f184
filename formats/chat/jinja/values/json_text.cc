#include "formats/chat/jinja/values/json_text.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/values/compare.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {
namespace {

class Writer {
 public:
  explicit Writer(const JsonTextOptions& options) : options_(options) {}

  absl::Status Write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        text_ += Scalar(value);
        return absl::OkStatus();
      case Kind::kString:
        WriteString(value.text());
        return absl::OkStatus();
      case Kind::kList:
        if (value.is_list() || value.is_tuple()) {
          return WriteList(value.items());
        }
        break;
      case Kind::kDict:
        return WriteDict(value.dict());
      default:
        break;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("tojson: a ", TypeName(value), " is no JSON"));
  }

  std::string Take() { return std::move(text_); }

 private:
  static std::string Scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.bool_value() ? "true" : "false";
      case Kind::kInt:
        return absl::StrCat(value.integer());
      default:
        return std::isnan(value.real()) ? "NaN"
               : std::isinf(value.real())
                   ? value.real() < 0 ? "-Infinity" : "Infinity"
                   : FloatText(value.real());
    }
  }

  void WriteString(absl::string_view text) {
    constexpr absl::string_view kShort = "\"\"\\\\\nn\rr\tt\bb\ff";
    text_.push_back('"');
    for (size_t at = 0; at < text.size();) {
      size_t n;
      const uint32_t c = utf8::Read(text.data() + at, &n);
      size_t s = 0;
      while (s < kShort.size() && static_cast<uint32_t>(kShort[s]) != c) {
        s += 2;
      }
      if (s < kShort.size()) {
        text_.push_back('\\');
        text_.push_back(kShort[s + 1]);
      } else if (c < 0x20 || (options_.ensure_ascii && c >= 0x7f)) {
        WriteEscape(c);
      } else {
        text_.append(text.data() + at, n);
      }
      at += n;
    }
    text_.push_back('"');
  }

  void WriteEscape(uint32_t c) {
    if (c >= 0x10000) {
      absl::StrAppendFormat(&text_, "\\u%04x\\u%04x",
                            0xd800 + ((c - 0x10000) >> 10),
                            0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
      absl::StrAppendFormat(&text_, "\\u%04x", c);
    }
  }

  void NewLine() {
    if (options_.indent.has_value()) {
      text_.push_back('\n');
      for (int i = 0; i < level_; ++i) {
        text_ += *options_.indent;
      }
    }
  }

  absl::Status WriteList(const std::vector<Value>& items) {
    if (items.empty()) {
      text_ += "[]";
      return absl::OkStatus();
    }
    text_.push_back('[');
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      text_ += i == 0 ? "" : options_.item_separator;
      NewLine();
      RETURN_IF_ERROR(Write(items[i]));
    }
    --level_;
    NewLine();
    text_.push_back(']');
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict) {
    if (dict.members.empty()) {
      text_ += "{}";
      return absl::OkStatus();
    }
    std::vector<const std::pair<Value, Value>*> members;
    for (const auto& member : dict.members) {
      members.push_back(&member);
    }
    if (options_.sort_keys) {
      RETURN_IF_ERROR(Sort(&members));
    }
    text_.push_back('{');
    ++level_;
    for (size_t i = 0; i < members.size(); ++i) {
      text_ += i == 0 ? "" : options_.item_separator;
      NewLine();
      RETURN_IF_ERROR(WriteKey(members[i]->first));
      text_ += options_.key_separator;
      RETURN_IF_ERROR(Write(members[i]->second));
    }
    --level_;
    NewLine();
    text_.push_back('}');
    return absl::OkStatus();
  }

  absl::Status WriteKey(const Value& key) {
    if (key.is_string()) {
      WriteString(key.text());
    } else if (key.is_none() || key.is_number()) {
      WriteString(Scalar(key));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("tojson: a ", TypeName(key), " as a key"));
    }
    return absl::OkStatus();
  }

  static absl::Status Sort(
      std::vector<const std::pair<Value, Value>*>* members) {
    absl::Status status;
    std::stable_sort(members->begin(), members->end(),
                     [&status](const auto* a, const auto* b) {
                       const absl::StatusOr<bool> less =
                           Less(a->first, b->first);
                       if (!less.ok()) {
                         status = less.status();
                       }
                       return less.ok() && *less;
                     });
    return status;
  }

  const JsonTextOptions& options_;
  std::string text_;
  int level_ = 0;
};

}  // namespace

absl::StatusOr<std::string> ToJsonText(const Value& value,
                                       const JsonTextOptions& options) {
  Writer writer(options);
  RETURN_IF_ERROR(writer.Write(value));
  return writer.Take();
}

}  // namespace narrow::jinja
