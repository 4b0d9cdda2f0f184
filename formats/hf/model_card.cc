#include "formats/hf/model_card.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "formats/hf/yaml_scalar.h"

namespace narrow {
namespace {

constexpr int kMaxDepth = 64;

struct Line {
  int indent;
  std::string text;  // without indent and trailing space
};

bool IsBlank(const Line& line) {
  return line.text.empty() || line.text[0] == '#';
}

bool IsItem(absl::string_view text) {
  return text == "-" || absl::StartsWith(text, "- ");
}

// Reads one document of lines. Every Parse method returns nullopt for what it
// does not understand, and that is passed up.
class Parser {
 public:
  explicit Parser(std::vector<Line> lines) : lines_(std::move(lines)) {}

  std::optional<YamlValue> Run() {
    std::optional<YamlValue> value = ParseNode(0, 0);
    SkipBlank();
    return next_ == lines_.size() ? value : std::nullopt;
  }

 private:
  void SkipBlank() {
    while (next_ < lines_.size() && IsBlank(lines_[next_])) {
      ++next_;
    }
  }

  // What stands at the next line, if it is indented by `min_indent` at least;
  // null otherwise.
  std::optional<YamlValue> ParseNode(int min_indent, int depth) {
    SkipBlank();
    if (depth > kMaxDepth) {
      return std::nullopt;
    }
    if (next_ == lines_.size() || lines_[next_].indent < min_indent) {
      return YamlValue();
    }
    const Line line = lines_[next_];
    if (IsItem(line.text)) {
      return ParseList(line.indent, depth);
    }
    if (KeyLength(line.text) > 0) {
      return ParseMap(line.indent, depth);
    }
    ++next_;
    return ParseValue(line.text, line.indent - 1, depth);
  }

  std::optional<YamlValue> ParseList(int indent, int depth) {
    YamlValue list;
    list.kind = YamlValue::Kind::kList;
    for (SkipBlank(); next_ < lines_.size() && lines_[next_].indent == indent &&
                      IsItem(lines_[next_].text);
         SkipBlank()) {
      Line& line = lines_[next_];
      const absl::string_view after = absl::string_view(line.text).substr(1);
      const absl::string_view rest = absl::StripLeadingAsciiWhitespace(after);
      std::optional<YamlValue> item;
      if (rest.empty() || rest[0] == '#') {
        ++next_;
        item = ParseNode(indent + 1, depth + 1);
      } else if (IsItem(rest) || KeyLength(rest) > 0) {
        // A list or map that begins on the item's own line: read that line
        // again without its dash.
        line.indent = indent + 1 + static_cast<int>(after.size() - rest.size());
        line.text = std::string(rest);
        item = ParseNode(indent + 1, depth + 1);
      } else {
        const std::string text(rest);
        ++next_;
        item = ParseValue(text, indent, depth + 1);
      }
      if (!item) {
        return std::nullopt;
      }
      list.items.push_back(*std::move(item));
    }
    if (next_ < lines_.size() && lines_[next_].indent > indent) {
      return std::nullopt;
    }
    return list;
  }

  std::optional<YamlValue> ParseMap(int indent, int depth) {
    YamlValue map;
    map.kind = YamlValue::Kind::kMap;
    for (SkipBlank(); next_ < lines_.size() && lines_[next_].indent == indent;
         SkipBlank()) {
      const std::string text = lines_[next_].text;
      const size_t key_length = KeyLength(text);
      if (key_length == 0) {
        return std::nullopt;
      }
      std::optional<std::string> key = KeyText(text.substr(0, key_length));
      if (!key) {
        return std::nullopt;
      }
      ++next_;
      const std::string rest(absl::StripLeadingAsciiWhitespace(
          absl::string_view(text).substr(key_length + 1)));
      std::optional<YamlValue> value;
      if (rest.empty() || rest[0] == '#') {
        SkipBlank();
        // A list may stand at its key's own indent.
        const bool is_flush_list = next_ < lines_.size() &&
                                   lines_[next_].indent == indent &&
                                   IsItem(lines_[next_].text);
        value = ParseNode(is_flush_list ? indent : indent + 1, depth + 1);
      } else {
        value = ParseValue(rest, indent, depth + 1);
      }
      if (!value) {
        return std::nullopt;
      }
      map.members.emplace_back(*std::move(key), *std::move(value));
    }
    if (next_ < lines_.size() && lines_[next_].indent > indent) {
      return std::nullopt;
    }
    return map;
  }

  // A value whose first line is `text` and whose further lines are indented
  // by more than `indent`.
  std::optional<YamlValue> ParseValue(std::string text, int indent, int depth) {
    switch (text[0]) {
      case '|':
      case '>':
        return ParseBlockScalar(text, indent);
      case '"':
      case '\'':
        return ParseQuoted(text, indent);
      case '[':
      case '{':
        return ParseFlow(text, indent, depth);
      case '&':
      case '*':
      case '!':
      case '%':
      case '@':
      case '`':
      case ',':
      case ']':
      case '}':
        return std::nullopt;
      default:
        if (IsItem(text) || text == "?" || absl::StartsWith(text, "? ")) {
          return std::nullopt;
        }
        return ParsePlain(text, indent);
    }
  }

  // Folds the lines of a scalar that continues: a line break becomes a space,
  // n blank lines become n breaks. False at the end of the value.
  bool AppendContinuation(int indent, std::string* text) {
    size_t line = next_;
    while (line < lines_.size() && lines_[line].text.empty()) {
      ++line;
    }
    if (line == lines_.size() || lines_[line].indent <= indent) {
      return false;
    }
    const size_t n_blank = line - next_;
    *text += n_blank == 0 ? " " : std::string(n_blank, '\n');
    *text += lines_[line].text;
    next_ = line + 1;
    return true;
  }

  std::optional<YamlValue> ParsePlain(std::string text, int indent) {
    bool has_comment = CutComment(&text);
    bool is_folded = false;
    while (!has_comment) {
      std::string longer = text;
      const size_t before = next_;
      if (!AppendContinuation(indent, &longer)) {
        break;
      }
      if (lines_[next_ - 1].text[0] == '#') {
        break;  // a comment ends the scalar
      }
      if (KeyLength(lines_[next_ - 1].text) > 0) {
        next_ = before;
        return std::nullopt;  // a key inside a plain scalar
      }
      has_comment = CutComment(&longer);
      text = longer;
      is_folded = true;
    }
    if (KeyLength(text) > 0 && !is_folded) {
      return std::nullopt;
    }
    return PlainScalar(text);
  }

  std::optional<YamlValue> ParseQuoted(std::string text, int indent) {
    size_t end;
    while ((end = QuotedLength(text)) == 0) {
      // Within double quotes a backslash at the end of a line joins it to the
      // next without a space.
      const bool joins = text[0] == '"' && absl::EndsWith(text, "\\");
      if (joins) {
        text.pop_back();
        if (next_ == lines_.size()) {
          return std::nullopt;
        }
        text += lines_[next_++].text;
      } else if (!AppendContinuation(indent, &text)) {
        return std::nullopt;
      }
    }
    const absl::string_view rest =
        absl::StripLeadingAsciiWhitespace(absl::string_view(text).substr(end));
    if (!rest.empty() && rest[0] != '#') {
      return std::nullopt;
    }
    return QuotedScalar(text.substr(0, end));
  }

  // "|" keeps line breaks, ">" folds them; "-" drops the last ones and "+"
  // keeps all of them.
  std::optional<YamlValue> ParseBlockScalar(absl::string_view header,
                                            int indent) {
    const bool folds = header[0] == '>';
    char chomp = ' ';
    absl::string_view rest = header.substr(1);
    if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
      chomp = rest[0];
      rest.remove_prefix(1);
    }
    // Neither an explicit indent nor text on this line.
    const absl::string_view comment = absl::StripLeadingAsciiWhitespace(rest);
    if (!rest.empty() && (rest[0] != ' ' || comment[0] != '#')) {
      return std::nullopt;
    }
    std::string text;
    int block_indent = -1;
    bool after_text = false;
    bool after_further = false;
    int n_breaks = 0;
    for (; next_ < lines_.size(); ++next_) {
      const Line& line = lines_[next_];
      if (line.text.empty()) {
        ++n_breaks;
        continue;
      }
      if (line.indent <= indent) {
        break;
      }
      if (block_indent < 0) {
        block_indent = line.indent;
      }
      // Lines that are indented further are not folded.
      const bool is_further = line.indent > block_indent;
      const bool folds_here = folds && !is_further && !after_further;
      after_further = is_further;
      if (after_text && folds_here && n_breaks == 0) {
        text += ' ';
      } else if (after_text && !folds_here) {
        text += std::string(static_cast<size_t>(n_breaks + 1), '\n');
      } else {
        text += std::string(static_cast<size_t>(n_breaks), '\n');
      }
      text += std::string(
          static_cast<size_t>(std::max(line.indent - block_indent, 0)), ' ');
      text += line.text;
      after_text = true;
      n_breaks = 0;
    }
    if (after_text && chomp != '-') {
      text += '\n';
    }
    if (chomp == '+') {
      text += std::string(static_cast<size_t>(n_breaks), '\n');
    }
    YamlValue value;
    value.kind = YamlValue::Kind::kString;
    value.text = text;
    return value;
  }

  std::optional<YamlValue> ParseFlow(std::string text, int indent, int depth) {
    for (;;) {
      absl::string_view rest = text;
      bool is_open = false;
      std::optional<YamlValue> value = ReadFlow(&rest, depth, &is_open);
      if (value) {
        rest = absl::StripLeadingAsciiWhitespace(rest);
        return rest.empty() || rest[0] == '#' ? value : std::nullopt;
      }
      if (!is_open || !AppendContinuation(indent, &text)) {
        return std::nullopt;
      }
    }
  }

  // One flow value off the front of `text`. `is_open` is set if the text ends
  // within it.
  std::optional<YamlValue> ReadFlow(absl::string_view* text, int depth,
                                    bool* is_open) {
    if (depth > kMaxDepth) {
      return std::nullopt;
    }
    *text = absl::StripLeadingAsciiWhitespace(*text);
    if (text->empty()) {
      *is_open = true;
      return std::nullopt;
    }
    const char first = text->front();
    if (first == '[' || first == '{') {
      return ReadCollection(text, depth, is_open);
    }
    if (first == '"' || first == '\'') {
      const size_t length = QuotedLength(*text);
      if (length == 0) {
        *is_open = true;
        return std::nullopt;
      }
      std::optional<YamlValue> value = QuotedScalar(text->substr(0, length));
      text->remove_prefix(length);
      return value;
    }
    size_t length = 0;
    while (length < text->size() &&
           !absl::StrContains(",[]{}", text->substr(length, 1)) &&
           !((*text)[length] == ':' &&
             (length + 1 == text->size() || (*text)[length + 1] == ' '))) {
      ++length;
    }
    if (absl::StrContains("&*!%@`", text->substr(0, 1))) {
      return std::nullopt;
    }
    YamlValue value =
        PlainScalar(absl::StripAsciiWhitespace(text->substr(0, length)));
    text->remove_prefix(length);
    return value;
  }

  std::optional<YamlValue> ReadCollection(absl::string_view* text, int depth,
                                          bool* is_open) {
    const bool is_map = text->front() == '{';
    const char end = is_map ? '}' : ']';
    text->remove_prefix(1);
    YamlValue value;
    value.kind = is_map ? YamlValue::Kind::kMap : YamlValue::Kind::kList;
    for (;;) {
      *text = absl::StripLeadingAsciiWhitespace(*text);
      if (text->empty()) {
        *is_open = true;
        return std::nullopt;
      }
      if (text->front() == end) {
        text->remove_prefix(1);
        return value;
      }
      std::optional<YamlValue> item = ReadFlow(text, depth + 1, is_open);
      if (!item) {
        return std::nullopt;
      }
      *text = absl::StripLeadingAsciiWhitespace(*text);
      if (is_map) {
        YamlValue member;
        if (absl::ConsumePrefix(text, ":")) {
          std::optional<YamlValue> read = ReadFlow(text, depth + 1, is_open);
          if (!read) {
            return std::nullopt;
          }
          member = *std::move(read);
        }
        value.members.emplace_back(item->text, std::move(member));
      } else if (absl::ConsumePrefix(text, ":")) {  // a map of one member
        std::optional<YamlValue> member = ReadFlow(text, depth + 1, is_open);
        if (!member) {
          return std::nullopt;
        }
        YamlValue map;
        map.kind = YamlValue::Kind::kMap;
        map.members.emplace_back(item->text, *std::move(member));
        value.items.push_back(std::move(map));
      } else {
        value.items.push_back(*std::move(item));
      }
      *text = absl::StripLeadingAsciiWhitespace(*text);
      if (text->empty()) {
        *is_open = true;
        return std::nullopt;
      }
      if (!absl::ConsumePrefix(text, ",") && text->front() != end) {
        return std::nullopt;
      }
    }
  }

  std::vector<Line> lines_;
  size_t next_ = 0;
};

// The lines between the dashes; none if the first line is not of dashes.
std::vector<Line> HeadLines(absl::string_view readme) {
  const std::string text =
      absl::StrReplaceAll(readme, {{"\r\n", "\n"}, {"\r", "\n"}, {"\t", "  "}});
  std::vector<Line> lines;
  bool is_first = true;
  for (absl::string_view raw : absl::StrSplit(text, '\n')) {
    if (is_first) {
      if (raw != "---") {
        break;
      }
      is_first = false;
      continue;
    }
    if (raw == "---") {
      break;
    }
    const absl::string_view body = absl::StripTrailingAsciiWhitespace(raw);
    const size_t indent = std::min(body.find_first_not_of(' '), body.size());
    // Norwegian, not the opposite of yes.
    const absl::string_view line = body.substr(indent);
    lines.push_back({static_cast<int>(indent),
                     line == "- no" ? "- \"no\"" : std::string(line)});
  }
  return lines;
}

}  // namespace

const YamlValue* YamlValue::Find(absl::string_view key) const {
  for (auto it = members.rbegin(); it != members.rend(); ++it) {
    if (it->first == key) {
      return &it->second;
    }
  }
  return nullptr;
}

YamlValue ParseModelCard(absl::string_view readme) {
  std::optional<YamlValue> value = Parser(HeadLines(readme)).Run();
  return value && value->kind == YamlValue::Kind::kMap ? *std::move(value)
                                                       : YamlValue();
}

}  // namespace narrow
