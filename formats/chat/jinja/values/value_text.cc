#include "formats/chat/jinja/values/value_text.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

absl::Status AppendItems(const std::vector<Value>& items, std::string* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) {
      out->append(", ");
    }
    RETURN_IF_ERROR(AppendRepr(items[i], out));
  }
  return absl::OkStatus();
}

absl::Status AppendListRepr(const ListData& list, std::string* out) {
  switch (list.flavor) {
    case ListFlavor::kRange:
      absl::StrAppend(out, "range(", list.range[0], ", ", list.range[1]);
      if (list.range[2] != 1) {
        absl::StrAppend(out, ", ", list.range[2]);
      }
      out->push_back(')');
      return absl::OkStatus();
    case ListFlavor::kTuple:
      out->push_back('(');
      RETURN_IF_ERROR(AppendItems(list.items, out));
      out->append(list.items.size() == 1 ? ",)" : ")");
      return absl::OkStatus();
    case ListFlavor::kKeys:
    case ListFlavor::kValues:
    case ListFlavor::kItems:
      out->append(list.flavor == ListFlavor::kKeys     ? "dict_keys(["
                  : list.flavor == ListFlavor::kValues ? "dict_values(["
                                                       : "dict_items([");
      RETURN_IF_ERROR(AppendItems(list.items, out));
      out->append("])");
      return absl::OkStatus();
    case ListFlavor::kList:
      break;
  }
  out->push_back('[');
  RETURN_IF_ERROR(AppendItems(list.items, out));
  out->push_back(']');
  return absl::OkStatus();
}

absl::Status AppendDictRepr(const Dict& dict, std::string* out) {
  out->push_back('{');
  for (size_t i = 0; i < dict.members.size(); ++i) {
    if (i > 0) {
      out->append(", ");
    }
    RETURN_IF_ERROR(AppendRepr(dict.members[i].first, out));
    out->append(": ");
    RETURN_IF_ERROR(AppendRepr(dict.members[i].second, out));
  }
  out->push_back('}');
  return absl::OkStatus();
}

void AppendEscape(uint32_t c, std::string* out) {
  if (c < 0x100) {
    absl::StrAppendFormat(out, "\\x%02x", c);
  } else if (c < 0x10000) {
    absl::StrAppendFormat(out, "\\u%04x", c);
  } else {
    absl::StrAppendFormat(out, "\\U%08x", c);
  }
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 std::chars_format::scientific)
                       .ptr;
  const absl::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent =
      text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end, exponent);
  // Python writes an exponent below -4 and from 16 on.
  if (exponent < -4 || exponent >= 16) {
    return std::string(text);
  }
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                       std::chars_format::fixed)
                             .ptr;
  std::string fixed(buffer, fixed_end);
  if (fixed.find('.') == std::string::npos) {
    fixed += ".0";
  }
  return fixed;
}

std::string QuotedText(absl::string_view text) {
  const bool double_quotes = text.find('\'') != absl::string_view::npos &&
                             text.find('"') == absl::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    size_t n;
    const uint32_t c = utf8::Read(text.data() + at, &n);
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (IsPrintable(c)) {
      out.append(text.data() + at, n);
    } else {
      AppendEscape(c, &out);
    }
    at += n;
  }
  out.push_back(quote);
  return out;
}

absl::Status AppendRepr(const Value& value, std::string* out) {
  switch (value.kind()) {
    case Kind::kUndefined:
      out->append("Undefined");
      return absl::OkStatus();
    case Kind::kString:
      if (value.is_markup()) {
        absl::StrAppend(out, "Markup(", QuotedText(value.text()), ")");
      } else {
        out->append(QuotedText(value.text()));
      }
      return absl::OkStatus();
    case Kind::kList:
      return AppendListRepr(value.list(), out);
    case Kind::kDict:
      return AppendDictRepr(value.dict(), out);
    default:
      return AppendText(value, out);
  }
}

absl::Status AppendText(const Value& value, std::string* out) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return absl::OkStatus();
    case Kind::kNone:
      out->append("None");
      return absl::OkStatus();
    case Kind::kBool:
      out->append(value.bool_value() ? "True" : "False");
      return absl::OkStatus();
    case Kind::kInt:
      absl::StrAppend(out, value.integer());
      return absl::OkStatus();
    case Kind::kFloat:
      out->append(FloatText(value.real()));
      return absl::OkStatus();
    case Kind::kString:
      out->append(value.text().data(), value.text().size());
      return absl::OkStatus();
    case Kind::kList:
    case Kind::kDict:
      return AppendRepr(value, out);
    default:
      return absl::UnimplementedError(
          absl::StrCat("printing a ", TypeName(value)));
  }
}

absl::StatusOr<std::string> ToText(const Value& value) {
  std::string text;
  RETURN_IF_ERROR(AppendText(value, &text));
  return text;
}

}  // namespace narrow::jinja
