#include "formats/regex/code_point_set.h"

#include <unicode/uniset.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

using utf8::kMaxCodePoint;

struct CategoryRun {
  uint32_t first;
  uint32_t last;
  char name[3];
};

constexpr CategoryRun kCategoryRuns[] = {
#define CATEGORY_RUN(first, last, name) {first, last, #name},
#include "formats/regex/unicode_categories.inc"
#undef CATEGORY_RUN
};

// Runs whose category starts with `prefix`.
CodePointRanges Category(absl::string_view prefix) {
  CodePointRanges runs;
  for (const CategoryRun& run : kCategoryRuns) {
    if (absl::string_view(run.name).substr(0, prefix.size()) == prefix) {
      runs.emplace_back(run.first, run.last);
    }
  }
  return Normalize(std::move(runs));
}

CodePointRanges Unassigned() {
  CodePointRanges runs;
  for (const CategoryRun& run : kCategoryRuns) {
    runs.emplace_back(run.first, run.last);
  }
  return Complement(Normalize(std::move(runs)));
}

CodePointRanges WhiteSpace() {
  return {{0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},
          {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
          {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
          {0x3000, 0x3000}};
}

// Oniguruma's \w: letters, marks, decimal digits, connectors, letter numbers
// and encircled letters, and by an old habit the fractions and superscripts of
// Latin-1.
CodePointRanges Word() {
  const CodePointRanges extra = {
      {0xb2, 0xb3},       {0xb9, 0xb9},       {0xbc, 0xbe},
      {0x24b6, 0x24e9},   {0x1f130, 0x1f149}, {0x1f150, 0x1f169},
      {0x1f170, 0x1f189},
  };
  return Union(Union(Union(Category("L"), Category("M")),
                     Union(Category("Nd"), Category("Pc"))),
               Union(Category("Nl"), extra));
}

CodePointRanges FromIcu(const icu::UnicodeSet& set) {
  CodePointRanges runs;
  for (int32_t i = 0; i < set.getRangeCount(); ++i) {
    runs.emplace_back(set.getRangeStart(i), set.getRangeEnd(i));
  }
  return runs;
}

// Lower case without '_', '-' and ' ', as property names are compared.
std::string LooseName(absl::string_view name) {
  std::string loose;
  for (char c : name) {
    if (c != '_' && c != '-' && c != ' ') {
      loose.push_back(static_cast<char>(tolower(c)));
    }
  }
  return loose;
}

// Long names of the general categories and the names that Oniguruma defines
// on top of Unicode's.
absl::string_view CategoryOf(const std::string& loose) {
  static const auto* const kLong = new std::map<std::string, const char*>{
      {"letter", "L"},
      {"lowercaseletter", "Ll"},
      {"modifierletter", "Lm"},
      {"otherletter", "Lo"},
      {"titlecaseletter", "Lt"},
      {"uppercaseletter", "Lu"},
      {"mark", "M"},
      {"combiningmark", "M"},
      {"spacingmark", "Mc"},
      {"enclosingmark", "Me"},
      {"nonspacingmark", "Mn"},
      {"number", "N"},
      {"decimalnumber", "Nd"},
      {"digit", "Nd"},
      {"letternumber", "Nl"},
      {"othernumber", "No"},
      {"punctuation", "P"},
      {"punct", "P"},
      {"connectorpunctuation", "Pc"},
      {"dashpunctuation", "Pd"},
      {"closepunctuation", "Pe"},
      {"finalpunctuation", "Pf"},
      {"initialpunctuation", "Pi"},
      {"otherpunctuation", "Po"},
      {"openpunctuation", "Ps"},
      {"symbol", "S"},
      {"currencysymbol", "Sc"},
      {"modifiersymbol", "Sk"},
      {"mathsymbol", "Sm"},
      {"othersymbol", "So"},
      {"separator", "Z"},
      {"lineseparator", "Zl"},
      {"paragraphseparator", "Zp"},
      {"spaceseparator", "Zs"},
      {"control", "Cc"},
      {"cntrl", "Cc"},
      {"format", "Cf"},
      {"privateuse", "Co"},
      {"surrogate", "Cs"},
  };
  const auto it = kLong->find(loose);
  return it == kLong->end() ? absl::string_view() : it->second;
}

bool IsCategory(const std::string& loose, std::string* category) {
  static constexpr absl::string_view kMajor = "lmnpsz";
  if (loose.empty() || loose.size() > 2) {
    return false;
  }
  *category = std::string(1, static_cast<char>(toupper(loose[0])));
  if (loose.size() == 1) {
    return kMajor.find(loose[0]) != absl::string_view::npos;
  }
  category->push_back(loose[1]);
  return std::any_of(
      std::begin(kCategoryRuns), std::end(kCategoryRuns),
      [&](const CategoryRun& run) { return run.name == *category; });
}

}  // namespace

CodePointRanges Normalize(CodePointRanges runs) {
  std::sort(runs.begin(), runs.end());
  CodePointRanges out;
  for (const auto& run : runs) {
    if (!out.empty() && run.first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, run.second);
    } else {
      out.push_back(run);
    }
  }
  return out;
}

CodePointRanges Union(const CodePointRanges& a, const CodePointRanges& b) {
  CodePointRanges runs = a;
  runs.insert(runs.end(), b.begin(), b.end());
  return Normalize(std::move(runs));
}

CodePointRanges Complement(const CodePointRanges& a) {
  CodePointRanges out;
  uint32_t next = 0;
  for (const auto& run : a) {
    if (run.first > next) {
      out.emplace_back(next, run.first - 1);
    }
    next = run.second + 1;
  }
  if (next <= kMaxCodePoint) {
    out.emplace_back(next, kMaxCodePoint);
  }
  return out;
}

CodePointRanges Intersection(const CodePointRanges& a,
                             const CodePointRanges& b) {
  return Complement(Union(Complement(a), Complement(b)));
}

CodePointRanges CloseOverCase(const CodePointRanges& a) {
  icu::UnicodeSet set;
  for (const auto& run : a) {
    set.add(static_cast<UChar32>(run.first), static_cast<UChar32>(run.second));
  }
  set.closeOver(USET_CASE_INSENSITIVE);
  set.removeAllStrings();
  return FromIcu(set);
}

absl::StatusOr<CodePointRanges> PropertyRanges(absl::string_view name) {
  const std::string loose = LooseName(name);
  std::string category;
  if (IsCategory(loose, &category)) return Category(category);
  if (const auto known = CategoryOf(loose); !known.empty()) {
    return Category(known);
  }
  if (loose == "any") return CodePointRanges{{0, kMaxCodePoint}};
  if (loose == "ascii") return CodePointRanges{{0, 0x7f}};
  if (loose == "cn" || loose == "unassigned") return Unassigned();
  if (loose == "assigned") return Complement(Unassigned());
  if (loose == "c" || loose == "other") {
    return Union(Category("C"), Unassigned());
  }
  if (loose == "lc" || loose == "casedletter") {
    return Union(Category("Lu"), Union(Category("Ll"), Category("Lt")));
  }
  if (loose == "space" || loose == "whitespace") return WhiteSpace();
  if (loose == "word") return Word();
  if (loose == "blank") return Union(Category("Zs"), {{'\t', '\t'}});
  if (loose == "xdigit") {
    return CodePointRanges{{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  }
  if (loose == "alpha") return PropertyRanges("Alphabetic");
  if (loose == "upper") return PropertyRanges("Uppercase");
  if (loose == "lower") return PropertyRanges("Lowercase");
  if (loose == "alnum") {
    auto alphabetic = PropertyRanges("Alphabetic");
    return alphabetic.ok() ? Union(*alphabetic, Category("Nd")) : alphabetic;
  }
  UErrorCode error = U_ZERO_ERROR;
  icu::UnicodeSet set;
  set.applyPropertyAlias(icu::UnicodeString::fromUTF8(icu::StringPiece(
                             name.data(), static_cast<int32_t>(name.size()))),
                         icu::UnicodeString(), error);
  if (U_FAILURE(error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown Unicode property '", name, "'"));
  }
  return FromIcu(set);
}

CodePointSet::CodePointSet(const CodePointRanges& ranges)
    : index_((kMaxCodePoint >> 8) + 1) {
  std::map<Page, uint16_t> known;
  size_t r = 0;
  for (uint32_t p = 0; p < index_.size(); ++p) {
    Page page = {};
    while (r < ranges.size() && ranges[r].second < p << 8) {
      ++r;
    }
    for (size_t i = r; i < ranges.size() && ranges[i].first <= (p << 8 | 255);
         ++i) {
      const uint32_t first = std::max(ranges[i].first, p << 8);
      const uint32_t last = std::min(ranges[i].second, p << 8 | 255);
      for (uint32_t c = first; c <= last; ++c) {
        page[(c >> 6) & 3] |= uint64_t{1} << (c & 63);
      }
    }
    const auto [it, is_new] =
        known.emplace(page, static_cast<uint16_t>(pages_.size()));
    if (is_new) {
      pages_.push_back(page);
    }
    index_[p] = it->second;
  }
}

}  // namespace narrow
