#include "formats/hf/model_name.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "unicode/uchar.h"
#include "unicode/utf8.h"

namespace narrow {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(c); }

// Takes a run of digits off the front; false if there is none.
bool EatDigits(absl::string_view* text) {
  const size_t n = static_cast<size_t>(
      std::find_if_not(text->begin(), text->end(), IsDigit) - text->begin());
  text->remove_prefix(n);
  return n > 0;
}

bool EatOneOf(absl::string_view* text, absl::string_view letters) {
  if (text->empty() || !absl::StrContains(letters, text->substr(0, 1))) {
    return false;
  }
  text->remove_prefix(1);
  return true;
}

// The predicates below get their part in lower case.

// 3, v0.2, iter1.5
bool IsVersion(absl::string_view part) {
  if (!absl::ConsumePrefix(&part, "v")) {
    absl::ConsumePrefix(&part, "iter");
  }
  if (!EatDigits(&part)) {
    return false;
  }
  while (absl::ConsumePrefix(&part, ".")) {
    if (!EatDigits(&part)) {
      return false;
    }
  }
  return part.empty();
}

// q4_k_m, iq3_xs (underscores before single letters only), bf16, fp16, f32
bool IsElementType(absl::string_view part) {
  absl::string_view quant = part;
  absl::ConsumePrefix(&quant, "i");
  if (absl::ConsumePrefix(&quant, "q") && EatOneOf(&quant, "0123456789")) {
    while (quant.size() >= 2 && quant[0] == '_' &&
           (absl::ascii_isalnum(quant[1]) || quant[1] == '_')) {
      quant.remove_prefix(2);
    }
    return quant.empty();
  }
  absl::ConsumePrefix(&part, "b");
  return absl::ConsumePrefix(&part, "f") &&
         (absl::ConsumePrefix(&part, "p"), part == "16" || part == "32");
}

// 7b, 1.5B, 8x7b, a3b, 7b1, mini
bool IsSize(absl::string_view part) {
  for (absl::string_view word :
       {"small", "mini", "medium", "large", "xl", "xxl"}) {
    if (part == word) {
      return true;
    }
  }
  if (!absl::ConsumePrefix(&part, "a")) {
    absl::string_view rest = part;
    if (EatDigits(&rest) && absl::ConsumePrefix(&rest, "x")) {
      part = rest;
    }
  }
  if (!EatDigits(&part)) {
    return false;
  }
  if (EatOneOf(&part, "._") && !EatDigits(&part)) {
    return false;
  }
  if (!EatOneOf(&part, "kmbt")) {
    return false;
  }
  return part.empty() || (part.size() == 1 && IsDigit(part[0]));
}

bool IsFinetune(absl::string_view part) {
  return part == "chat" || part == "instruct" || part == "vision" ||
         part == "lora";
}

// The code points of a text; bytes that are no UTF-8 stand for themselves and
// have no case.
std::vector<UChar32> CodePoints(absl::string_view text) {
  std::vector<UChar32> points;
  const int32_t n = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < n;) {
    UChar32 point;
    U8_NEXT(text.data(), i, n, point);
    points.push_back(point);
  }
  return points;
}

bool IsCased(UChar32 c) { return u_hasBinaryProperty(c, UCHAR_CASED); }

bool BeginsWithLetter(absl::string_view text) {
  return u_isalpha(CodePoints(text)[0]);
}

struct Part {
  std::string text;
  bool is_basename = false;
  bool is_size = false;
  bool is_finetune = false;
  bool is_version = false;
  bool is_type = false;

  int n_kinds() const {
    return is_basename + is_size + is_finetune + is_version + is_type;
  }
};

// Brings a size into its usual form; one that is far from the real number of
// parameters is taken for a context length.
void AnnotateSize(int64_t n_parameters, Part* part) {
  std::string text = absl::StrReplaceAll(part->text, {{"_", "."}});
  if (IsDigit(text.back())) {  // 7b1 is 7.1b
    const size_t n = text.size();
    text = absl::StrCat(text.substr(0, n - 2), ".", text.substr(n - 1),
                        text.substr(n - 2, 1));
  }
  if (text.size() > 1 && IsDigit(text[text.size() - 2]) &&
      absl::StrContains("kmbt", text.substr(text.size() - 1))) {
    text.back() = absl::ascii_toupper(text.back());
  }
  double number;
  if (n_parameters != 0 &&
      absl::SimpleAtod(text.substr(0, text.size() - 1), &number)) {
    const size_t power = absl::string_view(" KMBT").find(text.back());
    const double label =
        number * std::pow(1000.0, power == absl::string_view::npos
                                      ? -1.0
                                      : static_cast<double>(power));
    if (std::fabs(label - static_cast<double>(n_parameters)) >
        static_cast<double>(7 * n_parameters / 8)) {
      part->is_finetune = true;
      text.back() = absl::ascii_tolower(text.back());
    }
  }
  part->is_size = part->n_kinds() == 0;
  part->text = text;
}

std::vector<Part> Annotate(absl::string_view full_name, int64_t n_parameters) {
  std::vector<Part> parts;
  for (absl::string_view text :
       absl::StrSplit(full_name, '-', absl::SkipEmpty())) {
    Part part;
    part.text = std::string(text);
    const std::string lower = absl::AsciiStrToLower(text);
    const bool is_first = parts.empty();
    if (IsVersion(lower)) {
      part.is_version = true;
    } else if (IsElementType(lower)) {
      part.is_type = true;
      part.text = absl::AsciiStrToUpper(text);
    } else if (!is_first && IsSize(lower)) {
      AnnotateSize(n_parameters, &part);
    } else if (!is_first && IsFinetune(lower)) {
      part.is_finetune = true;
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

// "mini" is no size beside "4B".
void DropWordSizes(std::vector<Part>* parts) {
  bool has_number = false;
  for (const Part& part : *parts) {
    has_number = has_number ||
                 (part.is_size &&
                  std::any_of(part.text.begin(), part.text.end(), IsDigit));
  }
  for (Part& part : *parts) {
    if (has_number && part.is_size &&
        std::all_of(part.text.begin(), part.text.end(),
                    [](char c) { return absl::ascii_isalpha(c); })) {
      part.is_size = false;
    }
  }
}

// The basename is the words and versions at the start, less versions at its
// end; words after it belong to the finetune.
void FindBasename(std::vector<Part>* parts) {
  bool at_start = true;
  for (Part& part : *parts) {
    if (at_start && ((part.n_kinds() == 0 && BeginsWithLetter(part.text)) ||
                     part.is_version)) {
      part.is_basename = true;
    } else {
      at_start = false;
      if (part.n_kinds() == 0) {
        part.is_finetune = true;
      }
    }
  }
  for (auto it = parts->rbegin(); it != parts->rend(); ++it) {
    if (!it->is_basename || it->n_kinds() == 1) {
      break;
    }
    it->is_basename = false;
  }
}

template <typename Predicate>
std::optional<std::string> Join(const std::vector<Part>& parts,
                                bool without_repeats, Predicate belongs) {
  std::vector<std::string> texts;
  for (const Part& part : parts) {
    if (belongs(part) && !(without_repeats &&
                           std::count(texts.begin(), texts.end(), part.text))) {
      texts.push_back(part.text);
    }
  }
  std::string joined = absl::StrJoin(texts, "-");
  return joined.empty() ? std::nullopt : std::make_optional(joined);
}

// As Python's str.title: a letter after a letter is small, others capital.
std::string TitleCase(absl::string_view word) {
  std::string title;
  bool after_letter = false;
  const int32_t n = static_cast<int32_t>(word.size());
  for (int32_t i = 0; i < n;) {
    const int32_t start = i;
    UChar32 c;
    U8_NEXT(word.data(), i, n, c);
    if (c < 0) {
      title.append(word.data() + start, static_cast<size_t>(i - start));
      after_letter = false;
      continue;
    }
    uint8_t bytes[U8_MAX_LENGTH];
    int32_t length = 0;
    U8_APPEND_UNSAFE(bytes, length, after_letter ? u_tolower(c) : u_totitle(c));
    title.append(reinterpret_cast<const char*>(bytes),
                 static_cast<size_t>(length));
    after_letter = IsCased(c);
  }
  return title;
}

bool IsLowerCase(absl::string_view word) {
  bool has_letter = false;
  for (UChar32 c : CodePoints(word)) {
    if (u_hasBinaryProperty(c, UCHAR_UPPERCASE) || u_istitle(c)) {
      return false;
    }
    has_letter = has_letter || IsCased(c);
  }
  return has_letter;
}

}  // namespace

ModelName ParseModelName(absl::string_view id, int64_t n_parameters) {
  ModelName name;
  if (absl::StrContains(id, " ")) {  // a sentence, not an id
    name.full_name = std::string(id);
    return name;
  }
  const size_t slash = id.find('/');
  if (slash != absl::string_view::npos) {
    // "./model" has no organization.
    if (slash == 0 || id[0] != '.') {
      name.organization = std::string(id.substr(0, slash));
    }
    id.remove_prefix(slash + 1);
  }
  name.full_name = std::string(id);

  std::vector<Part> parts = Annotate(id, n_parameters);
  DropWordSizes(&parts);
  FindBasename(&parts);
  name.size_label = Join(parts, true, [](const Part& p) { return p.is_size; });
  name.finetune =
      Join(parts, false, [](const Part& p) { return p.is_finetune; });
  name.version = Join(parts, false, [](const Part& p) {
    return p.is_version && !p.is_basename;
  });
  if (name.size_label || name.finetune || name.version) {
    name.basename =
        Join(parts, false, [](const Part& p) { return p.is_basename; });
  }
  return name;
}

std::string TitleOf(absl::string_view id) {
  std::vector<std::string> words;
  for (absl::string_view word :
       absl::StrSplit(id, absl::ByAnyChar("- \t\n\v\f\r"), absl::SkipEmpty())) {
    const bool is_version =
        IsDigit(word[0]) || (word[0] == 'v' && IsVersion(word));
    words.push_back(IsLowerCase(word) && !is_version ? TitleCase(word)
                                                     : std::string(word));
  }
  return absl::StrJoin(words, " ");
}

std::string RoundedCount(int64_t n_parameters) {
  const double n = static_cast<double>(n_parameters);
  const bool is_trillions = n > 1e12;
  const bool is_billions = n > 1e9;
  const bool is_millions = n > 1e6;
  const double scaled = n * (is_trillions  ? 1e-12
                             : is_billions ? 1e-9
                             : is_millions ? 1e-6
                                           : 1e-3);
  const char suffix = is_trillions  ? 'T'
                      : is_billions ? 'B'
                      : is_millions ? 'M'
                                    : 'K';
  const int64_t whole = static_cast<int64_t>(std::nearbyint(scaled));
  const int n_digits =
      whole == 0 ? 0 : static_cast<int>(absl::StrCat(whole).size());
  return absl::StrFormat("%.*f%c", std::max(2 - n_digits, 0), scaled, suffix);
}

}  // namespace narrow
