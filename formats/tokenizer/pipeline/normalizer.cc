#include "formats/tokenizer/pipeline/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

constexpr int kMaxDepth = 16;

const CodePointSet& Spaces() {
  static const CodePointSet* const kSpaces =
      new CodePointSet(*PropertyRanges("space"));
  return *kSpaces;
}

const CodePointSet& Marks() {
  static const CodePointSet* const kMarks =
      new CodePointSet(*PropertyRanges("M"));
  return *kMarks;
}

const icu::Normalizer2* IcuNormalizer(bool compatibility) {
  UErrorCode error = U_ZERO_ERROR;
  return compatibility ? icu::Normalizer2::getNFKCInstance(error)
                       : icu::Normalizer2::getNFCInstance(error);
}

// ICU's composing and decomposing forms over UTF-8.
absl::string_view Canonical(absl::string_view text, bool compatibility,
                            bool compose, TextArena* arena) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* const composer = IcuNormalizer(compatibility);
  const icu::Normalizer2* normalizer = composer;
  if (!compose) {
    normalizer = compatibility ? icu::Normalizer2::getNFKDInstance(error)
                               : icu::Normalizer2::getNFDInstance(error);
  }
  if (normalizer == nullptr || U_FAILURE(error)) return text;
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  if (normalizer->isNormalizedUTF8(piece, error) && U_SUCCESS(error)) {
    return text;
  }
  error = U_ZERO_ERROR;
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  normalizer->normalizeUTF8(0, piece, sink, nullptr, error);
  return U_SUCCESS(error) ? arena->Keep(std::move(out)) : text;
}

template <typename Callback>
std::string MapChars(absl::string_view text, Callback&& callback) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t n;
    const uint32_t c = utf8::Read(text.data() + i, &n);
    callback(c, &out);
    i += n;
  }
  return out;
}

void AppendLower(uint32_t c, std::string* out) {
  if (c == 0x130) {  // the one letter whose lower case is two characters
    *out += "i\xcc\x87";
    return;
  }
  // Unicode 16, which the system's ICU may not know yet.
  static constexpr uint32_t kNew[][2] = {{0x1c89, 0x1c8a},
                                         {0xa7cb, 0x264},
                                         {0xa7cc, 0xa7cd},
                                         {0xa7da, 0xa7db},
                                         {0xa7dc, 0x19b}};
  for (const auto& pair : kNew) {
    if (c == pair[0]) return utf8::Append(pair[1], out);
  }
  if (c >= 0x10d50 && c <= 0x10d65) return utf8::Append(c + 0x20, out);
  utf8::Append(static_cast<uint32_t>(u_tolower(static_cast<UChar32>(c))), out);
}

absl::string_view StripSpaces(absl::string_view text, bool left, bool right) {
  size_t n;
  while (left && !text.empty() &&
         Spaces().Contains(utf8::Read(text.data(), &n))) {
    text.remove_prefix(n);
  }
  while (right && !text.empty()) {
    const size_t last = utf8::Back(text, text.size());
    if (!Spaces().Contains(utf8::Read(text.data() + last, &n))) break;
    text = text.substr(0, last);
  }
  return text;
}

absl::string_view ReplaceAll(const Regex& regex, absl::string_view content,
                             absl::string_view text, TextArena* arena) {
  std::string out;
  size_t copied = 0;
  bool found = false;
  Regex::Scratch scratch;
  regex.ForEachMatch(text, &scratch, [&](size_t start, size_t end) {
    if (!found) out.reserve(text.size() + text.size() / 2);
    found = true;
    out.append(text.data() + copied, start - copied);
    out.append(content.data(), content.size());
    copied = end;
  });
  if (!found) return text;
  out.append(text.data() + copied, text.size() - copied);
  return arena->Keep(std::move(out));
}

std::string EscapeRegex(absl::string_view literal) {
  std::string out;
  for (const char c : literal) {
    if (absl::string_view("\\.+*?()|[]{}^$#&-~ \t\n\r").find(c) !=
            absl::string_view::npos &&
        c != '\n' && c != '\t' && c != '\r') {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> PatternFromJson(const JsonValue& pattern) {
  if (const auto literal = pattern.Find("String")) {
    ASSIGN_OR_RETURN(const absl::string_view text, literal->GetString());
    return EscapeRegex(text);
  }
  ASSIGN_OR_RETURN(const JsonValue regex, pattern.Get("Regex"));
  ASSIGN_OR_RETURN(const absl::string_view text, regex.GetString());
  return std::string(text);
}

absl::StatusOr<Normalizer> Normalizer::FromJson(const JsonValue& json) {
  Normalizer normalizer;
  if (!json.is_null()) {
    RETURN_IF_ERROR(normalizer.AddStep(json, 0));
  }
  return normalizer;
}

absl::Status Normalizer::AddStep(const JsonValue& json, int depth) {
  ASSIGN_OR_RETURN(const JsonValue type_value, json.Get("type"));
  ASSIGN_OR_RETURN(const absl::string_view type, type_value.GetString());
  if (depth > kMaxDepth) return json.Error("normalizers nested too deep");
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonValue list, json.Get("normalizers"));
    ASSIGN_OR_RETURN(const auto members, list.GetElements());
    for (const JsonValue& member : members) {
      RETURN_IF_ERROR(AddStep(member, depth + 1));
    }
    return absl::OkStatus();
  }
  Step step;
  step.signature = std::string(type);
  if (type == "NFC") {
    step.kind = Kind::kNfc;
  } else if (type == "NFD") {
    step.kind = Kind::kNfd;
  } else if (type == "NFKC") {
    step.kind = Kind::kNfkc;
  } else if (type == "NFKD") {
    step.kind = Kind::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else if (type == "StripAccents") {
    step.kind = Kind::kStripAccents;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    ASSIGN_OR_RETURN(const JsonValue left, json.Get("strip_left"));
    ASSIGN_OR_RETURN(step.left, left.GetBool());
    ASSIGN_OR_RETURN(const JsonValue right, json.Get("strip_right"));
    ASSIGN_OR_RETURN(step.right, right.GetBool());
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    ASSIGN_OR_RETURN(const JsonValue prefix, json.Get("prepend"));
    ASSIGN_OR_RETURN(const absl::string_view text, prefix.GetString());
    step.content = std::string(text);
    absl::StrAppend(&step.signature, "(", text, ")");
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    ASSIGN_OR_RETURN(const JsonValue pattern_json, json.Get("pattern"));
    ASSIGN_OR_RETURN(const std::string pattern, PatternFromJson(pattern_json));
    auto regex = Regex::Compile(pattern);
    if (!regex.ok()) {
      return Annotate(regex.status(), pattern_json.Error("pattern").message());
    }
    step.regex = std::make_shared<const Regex>(*std::move(regex));
    ASSIGN_OR_RETURN(const JsonValue content, json.Get("content"));
    ASSIGN_OR_RETURN(const absl::string_view text, content.GetString());
    step.content = std::string(text);
    absl::StrAppend(&step.signature, "(", pattern, ",", text, ")");
  } else {
    return absl::UnimplementedError(
        absl::StrCat("normalizer '", type, "' is not supported; ",
                     json.Error("found").message()));
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

std::string Normalizer::Signature() const {
  std::string out;
  for (const Step& step : steps_) {
    absl::StrAppend(&out, out.empty() ? "" : " ", step.signature);
  }
  return out;
}

absl::string_view Normalizer::Apply(absl::string_view text,
                                    TextArena* arena) const {
  for (const Step& step : steps_) {
    if (text.empty()) break;
    switch (step.kind) {
      case Kind::kNfc:
      case Kind::kNfkc:
        text = Canonical(text, step.kind == Kind::kNfkc, true, arena);
        break;
      case Kind::kNfd:
      case Kind::kNfkd:
        text = Canonical(text, step.kind == Kind::kNfkd, false, arena);
        break;
      case Kind::kLowercase:
        text = arena->Keep(MapChars(text, AppendLower));
        break;
      case Kind::kStripAccents:
        text = arena->Keep(MapChars(text, [](uint32_t c, std::string* out) {
          if (!Marks().Contains(c)) utf8::Append(c, out);
        }));
        break;
      case Kind::kStrip:
        text = StripSpaces(text, step.left, step.right);
        break;
      case Kind::kPrepend:
        text = arena->Keep(absl::StrCat(step.content, text));
        break;
      case Kind::kReplace:
        text = ReplaceAll(*step.regex, step.content, text, arena);
        break;
    }
  }
  return text;
}

}  // namespace narrow
