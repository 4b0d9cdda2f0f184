// The converter of llama.cpp tells pre-tokenizers apart by the ids of a test
// string, so that a vocabulary nobody has seen has no name. Here the name
// follows from what the pipeline does: equal pipelines, equal name. Where
// llama.cpp's own pattern is not the published one (it has no classes beyond
// \p{L} and the like in a group), both are given.
//
// Tested by: pre_tokenizer_names_test.cc, over all rows.

#include "formats/tokenizer/pre_tokenizer_names.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"
#include "formats/tokenizer/pipeline/token_text.h"

namespace narrow {
namespace {

using Patterns = std::vector<std::string>;

#define NARROW_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define NARROW_TAIL R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define NARROW_SLASH_TAIL \
  R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
// Letters that are not lower, or not upper case.
#define NARROW_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define NARROW_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
// llama.cpp knows case in these only for ASCII, and no marks.
#define NARROW_ASCII_UPPER R"([\p{L}&&[^a-z]])"
#define NARROW_ASCII_LOWER R"([\p{L}&&[^A-Z]])"
#define NARROW_LEAD R"([^\r\n\p{L}\p{N}]?)"
#define NARROW_CJK_PUNCT_WORDS                                      \
  R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"             \
  R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" \
  R"(\s*[\r\n]+|\s+(?!\S)|\s+)"

constexpr char kLlama3Pattern[] =
    NARROW_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})" NARROW_TAIL;
constexpr char kQwen2Pattern[] =
    NARROW_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" NARROW_TAIL;
constexpr char kBloomPattern[] = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
constexpr char kCjkRun[] = "[一-龥぀-ゟ゠-ヿ]+";
constexpr char kCjkAndHangulRun[] = "[一-龥ࠀ-一가-퟿]+";

Patterns kLlama3() { return {kLlama3Pattern}; }
Patterns kQwen2() { return {kQwen2Pattern}; }
Patterns kQwen2NoContractions() {
  return {R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" NARROW_TAIL};
}
Patterns kQwen35() {
  return {NARROW_CONTRACTIONS
          R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
          R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
}
Patterns kGpt2() { return {kGpt2Pattern}; }
Patterns kStarCoder() { return {R"(\p{N})", kGpt2Pattern}; }
Patterns kDeepSeekLlm() {
  return {
      R"([\r\n])",
      "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-"
      "ΡΣ-"
      "ϵϷ-"
      "ҁҊ-"
      "ԯԱ-"
      "ՖႠ-"
      "ჅᎠ-"
      "Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-"
      "ὗὙὛὝὟ-"
      "ώᾀ-"
      "ᾴᾶ-"
      "ᾼιῂ-"
      "ῄῆ-"
      "ῌῐ-"
      "ΐῖ-"
      "Ίῠ-Ῥῲ-"
      "ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-"
      "ꚛꜢ-"
      "ꝯꝱ-"
      "ꞇꞋ-"
      "ꞎꭰ-"
      "ꮿﬀ-"
      "ﬆ"
      "ﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-"
      "𑣟𞤀-"
      "𞥃]"
      "+",
      "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
      "\\s+$",
      kCjkAndHangulRun,
      R"(\p{N}+)",
  };
}
Patterns kDeepSeekCoder() {
  return {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjkAndHangulRun,
          R"(\p{N})"};
}
Patterns kDeepSeekV3() {
  return {R"(\p{N}{1,3})", kCjkRun, NARROW_CJK_PUNCT_WORDS};
}
Patterns kFalcon() {
  return {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, "[0-9][0-9][0-9]"};
}
Patterns kTekken() {
  return {NARROW_LEAD NARROW_ASCII_UPPER
          "*" NARROW_ASCII_LOWER "+|" NARROW_LEAD NARROW_ASCII_UPPER
          "+" NARROW_ASCII_LOWER R"(*|\p{N})" NARROW_SLASH_TAIL};
}
Patterns kGpt4o() {
  return {NARROW_LEAD NARROW_ASCII_UPPER
          "*" NARROW_ASCII_LOWER "+" NARROW_CONTRACTIONS
          "?|" NARROW_LEAD NARROW_ASCII_UPPER "+" NARROW_ASCII_LOWER
          "*" NARROW_CONTRACTIONS R"(?|\p{N}{1,3})" NARROW_SLASH_TAIL};
}
Patterns kBloom() { return {kBloomPattern}; }
Patterns kViking() { return {kBloomPattern, R"(\p{N})"}; }
Patterns kSeedCoder() {
  return {NARROW_CONTRACTIONS
          R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)"
          R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
}
Patterns kBailing() {
  return {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
          R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
}
// Published with \d, which llama.cpp reads as ASCII digits.
Patterns kSuperBpe() { return {R"(\p{N}+)", R"((?=([0-9]{3})+(?![0-9])))"}; }
Patterns kJais2() {
  return {NARROW_CONTRACTIONS
          R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
          R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S))"
          R"(|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S))"
          R"(|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};
}
Patterns kMiniCpm5() {
  return {R"(\p{N}{1,3})", NARROW_CONTRACTIONS
          R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+)" NARROW_TAIL};
}
Patterns kDefault() {
  return {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)",
          "[0-9][0-9][0-9]"};
}

// Published pipelines whose patterns are not those of the row they select.
struct Published {
  const char* name;
  PreTokenizerSteps steps;
};
const std::vector<Published>& AllPublished() {
  static const auto* const kPublished = new std::vector<Published>{
      {"superbpe",
       {{"isolated", R"(\p{N}+)"},
        {"isolated", R"((?=(\d{3})+(?!\d)))"},
        {"byte_level", ""}}},
      {"tekken",
       {{"isolated", NARROW_LEAD NARROW_UPPER
         "*" NARROW_LOWER "+|" NARROW_LEAD NARROW_UPPER "+" NARROW_LOWER
         R"(*|\p{N})" NARROW_SLASH_TAIL},
        {"byte_level", ""}}},
      {"gpt-4o",
       {{"isolated", NARROW_LEAD NARROW_UPPER
         "*" NARROW_LOWER "+" NARROW_CONTRACTIONS "?|" NARROW_LEAD NARROW_UPPER
         "+" NARROW_LOWER "*" NARROW_CONTRACTIONS
         R"(?|\p{N}{1,3})" NARROW_SLASH_TAIL},
        {"byte_level", ""}}},
      {"bailingmoe",
       {{"isolated", R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N})"
                     R"(| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"},
        {"byte_level", ""}}},
      {"falcon",
       {{"contiguous", R"([!-/:-@\[-`{-~\p{P}])"},
        {"isolated", kGpt2Pattern},
        {"byte_level", ""},
        {"isolated", R"(\p{N}+)"},
        {"isolated", "[0-9][0-9][0-9]"}}},
  };
  return *kPublished;
}

const std::vector<PreTokenizerRow>& Rows() {
  static const auto* const kRows = new std::vector<PreTokenizerRow>{
#define PRE_TOKENIZER(name, ignore_merges, adds_bos, patterns) \
  {name, ignore_merges, adds_bos, false, patterns()},
#include "formats/tokenizer/pre_tokenizers.inc"
#undef PRE_TOKENIZER
  };
  return *kRows;
}

// SentencePiece-style vocabularies in a byte-pair container. The vocabulary
// of Gemma 3 is known to the converter by its first name here.
constexpr const char* kRawTextNames[] = {"granite-embed-multi-311m", "gemma4"};

PreTokenizerSteps StepsOf(const PreTokenizerRow& row) {
  PreTokenizerSteps steps;
  for (const std::string& pattern : row.patterns) {
    steps.push_back({"isolated", pattern});
  }
  steps.push_back({"byte_level", ""});
  return steps;
}

std::string SignatureOf(const PreTokenizerSteps& steps) {
  return absl::StrJoin(
      steps, " | ", [](std::string* out, const PreTokenizerStep& step) {
        absl::StrAppend(out, step.behavior, step.pattern.empty() ? "" : ":",
                        step.pattern);
      });
}

bool IsRawText(const HfTokenizer& tokenizer) {
  const std::string replace = absl::StrCat("Replace(\\ ,", kSpaceMark, ")");
  const std::string split = tokenizer.pre_tokenizer().Signature();
  return tokenizer.model().byte_fallback &&
         tokenizer.normalizer().Signature() == replace &&
         (split.empty() || split == "with_previous:\\ ");
}

// Whether merging spells every token of the model, so that taking a token
// whole and merging it come to the same.
bool MergesReachAll(const HfTokenizer& tokenizer) {
  const HfModel& model = tokenizer.model();
  const BpeModel bpe = model.MakeBpe(false, /*ignore_merges=*/false);
  BpeModel::Scratch scratch;
  std::vector<bool> added(model.texts.size());
  for (const AddedToken& token : model.added) added[token.id] = true;
  for (int64_t id = 0; id < model.n_model_ids; ++id) {
    if (!model.texts[id] || added[id]) continue;
    std::vector<int32_t> ids;
    bpe.Encode(*model.texts[id], &scratch, &ids);
    if (ids.size() != 1 || ids[0] != id) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<PreTokenizerRow> FindPreTokenizer(absl::string_view name) {
  for (const char* raw : kRawTextNames) {
    if (name == raw) {
      return PreTokenizerRow{raw, false, true, true, {R"([^\n]+|[\n]+)"}};
    }
  }
  if (name.empty()) name = "default";
  for (const PreTokenizerRow& row : Rows()) {
    if (row.name == name) return row;
  }
  return absl::NotFoundError(
      absl::StrCat("unknown pre-tokenizer '", name, "'"));
}

absl::StatusOr<PreTokenizerSteps> FindPreTokenizerSteps(
    absl::string_view name) {
  ASSIGN_OR_RETURN(const PreTokenizerRow row, FindPreTokenizer(name));
  for (const Published& published : AllPublished()) {
    // All names for the same patterns.
    if (FindPreTokenizer(published.name)->patterns == row.patterns) {
      return published.steps;
    }
  }
  return StepsOf(row);
}

absl::StatusOr<std::string> PreTokenizerName(const HfTokenizer& tokenizer) {
  if (IsRawText(tokenizer)) return std::string(kRawTextNames[0]);
  const std::string signature = tokenizer.pre_tokenizer().Signature();
  const bool ignores = tokenizer.model().ignore_merges;
  std::vector<const PreTokenizerRow*> fitting;
  for (const Published& row : AllPublished()) {
    if (signature != SignatureOf(row.steps)) continue;
    for (const PreTokenizerRow& known : Rows()) {
      if (known.name == row.name) fitting.push_back(&known);
    }
  }
  for (const PreTokenizerRow& row : Rows()) {
    if (row.name != "default" && signature == SignatureOf(StepsOf(row))) {
      fitting.push_back(&row);
    }
  }
  if (fitting.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("no name of a pre-tokenizer is known for this pipeline: '",
                     signature, "'; name one to use it all the same"));
  }
  // The first name unless its way with merges gives other ids.
  if (fitting[0]->ignore_merges == ignores || MergesReachAll(tokenizer)) {
    return fitting[0]->name;
  }
  for (const PreTokenizerRow* row : fitting) {
    if (row->ignore_merges == ignores) return row->name;
  }
  return absl::UnimplementedError(absl::StrCat(
      "pre-tokenizer '", fitting[0]->name, "' has the pattern '", signature,
      "' but takes ", ignores ? "merges" : "whole tokens", " first where ",
      "tokenizer.json (ignore_merges) does not; name one to use it all the "
      "same"));
}

}  // namespace narrow
