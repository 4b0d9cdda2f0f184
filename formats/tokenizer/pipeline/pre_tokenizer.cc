#include "formats/tokenizer/pipeline/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/tokenizer/pipeline/byte_alphabet.h"
#include "formats/tokenizer/pipeline/normalizer.h"

namespace narrow {

const char kGpt2Pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";

namespace {

constexpr int kMaxDepth = 16;
constexpr char kByteLevelSignature[] = "byte_level";
// ASCII punctuation counts its symbols too.
constexpr char kPunctuation[] = "[!-/:-@\\[-`{-~\\p{P}]";

struct BehaviorName {
  const char* json;
  const char* signature;
  PreTokenizer::Behavior behavior;
};
constexpr BehaviorName kBehaviors[] = {
    {"Removed", "removed", PreTokenizer::Behavior::kRemoved},
    {"Isolated", "isolated", PreTokenizer::Behavior::kIsolated},
    {"MergedWithPrevious", "with_previous",
     PreTokenizer::Behavior::kMergedWithPrevious},
    {"MergedWithNext", "with_next", PreTokenizer::Behavior::kMergedWithNext},
    {"Contiguous", "contiguous", PreTokenizer::Behavior::kContiguous},
};

absl::StatusOr<PreTokenizer::Behavior> BehaviorFromJson(const JsonValue& json) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get("behavior"));
  ASSIGN_OR_RETURN(const absl::string_view name, value.GetString());
  for (const BehaviorName& row : kBehaviors) {
    if (name == row.json) return row.behavior;
  }
  return value.Error(absl::StrCat("unknown split behavior '", name, "'"));
}

// The value of an optional member that is a bool.
absl::StatusOr<bool> BoolOr(const JsonValue& json, absl::string_view key,
                            bool otherwise) {
  const auto value = json.FindNonNull(key);
  return value ? value->GetBool() : otherwise;
}

struct Range {
  size_t start;
  size_t end;
  bool is_match;
};

void Cut(const std::vector<Range>& ranges, PreTokenizer::Behavior behavior,
         const TextPiece& piece, std::vector<TextPiece>* out) {
  using Behavior = PreTokenizer::Behavior;
  const auto push = [&](size_t start, size_t end) {
    if (end > start) {
      out->push_back({piece.text.substr(start, end - start), -1,
                      piece.at_start && start == 0});
    }
  };
  // Joined ranges are kept open in [start, end) and pushed when complete.
  size_t start = 0, end = 0;
  bool open = false, previous_match = false;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Range& range = ranges[i];
    bool join = false;
    switch (behavior) {
      case Behavior::kRemoved:
        if (range.is_match) continue;
        break;
      case Behavior::kIsolated:
        break;
      case Behavior::kMergedWithPrevious:
        join = range.is_match && !previous_match;
        break;
      case Behavior::kMergedWithNext:
        // A match takes what follows, unless that is a match as well.
        join = i > 0 && ranges[i - 1].is_match && !range.is_match;
        break;
      case Behavior::kContiguous:
        join = range.is_match == previous_match;
        break;
    }
    previous_match = range.is_match;
    if (open && join) {
      end = range.end;
      continue;
    }
    if (open) push(start, end);
    start = range.start;
    end = range.end;
    open = true;
  }
  if (open) push(start, end);
}

void Split(const Regex& regex, bool invert, PreTokenizer::Behavior behavior,
           const TextPiece& piece, Regex::Scratch* scratch,
           std::vector<Range>* ranges, std::vector<TextPiece>* out) {
  ranges->clear();
  size_t last = 0;
  regex.ForEachMatch(piece.text, scratch, [&](size_t start, size_t end) {
    if (start > last) ranges->push_back({last, start, invert});
    ranges->push_back({start, end, !invert});
    last = end;
  });
  if (last < piece.text.size()) {
    ranges->push_back({last, piece.text.size(), invert});
  }
  Cut(*ranges, behavior, piece, out);
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const JsonValue& json) {
  PreTokenizer result;
  if (!json.is_null()) {
    RETURN_IF_ERROR(result.AddStep(json, 0));
  }
  return result;
}

absl::StatusOr<PreTokenizer> PreTokenizer::FromPatterns(
    const std::vector<std::string>& patterns) {
  PreTokenizer result;
  for (const std::string& pattern : patterns) {
    RETURN_IF_ERROR(result.AddSplit(pattern, Behavior::kIsolated, false));
  }
  return result;
}

absl::Status PreTokenizer::AddStep(const JsonValue& json, int depth) {
  ASSIGN_OR_RETURN(const JsonValue type_value, json.Get("type"));
  ASSIGN_OR_RETURN(const absl::string_view type, type_value.GetString());
  if (depth > kMaxDepth) return json.Error("pre-tokenizers nested too deep");
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonValue list, json.Get("pretokenizers"));
    ASSIGN_OR_RETURN(const auto members, list.GetElements());
    for (const JsonValue& member : members) {
      RETURN_IF_ERROR(AddStep(member, depth + 1));
    }
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return AddByteLevel(json);
  if (type == "Metaspace") return AddMetaspace(json);
  if (type == "Split") {
    ASSIGN_OR_RETURN(const JsonValue pattern_json, json.Get("pattern"));
    ASSIGN_OR_RETURN(const std::string pattern, PatternFromJson(pattern_json));
    ASSIGN_OR_RETURN(const Behavior behavior, BehaviorFromJson(json));
    ASSIGN_OR_RETURN(const bool invert, BoolOr(json, "invert", false));
    return Annotate(AddSplit(pattern, behavior, invert),
                    pattern_json.Error("pattern").message());
  }
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool each, BoolOr(json, "individual_digits", false));
    return AddSplit(each ? "\\p{N}" : "\\p{N}+", Behavior::kIsolated, false);
  }
  if (type == "Punctuation") {
    Behavior behavior = Behavior::kIsolated;
    if (json.Find("behavior")) {
      ASSIGN_OR_RETURN(behavior, BehaviorFromJson(json));
    }
    return AddSplit(kPunctuation, behavior, false);
  }
  if (type == "Whitespace") {
    return AddSplit("\\w+|[^\\w\\s]+", Behavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") {
    return AddSplit("\\s+", Behavior::kRemoved, false);
  }
  return absl::UnimplementedError(absl::StrCat("pre-tokenizer '", type,
                                               "' is not supported; ",
                                               json.Error("found").message()));
}

absl::Status PreTokenizer::AddSplit(absl::string_view pattern,
                                    Behavior behavior, bool invert) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  if (byte_level_ && !spells_bytes_) {
    Step spell;
    spell.kind = Kind::kSpellBytes;
    steps_.push_back(spell);
    spells_bytes_ = true;
  }
  Step step;
  step.regex = std::make_shared<const Regex>(std::move(regex));
  step.behavior = behavior;
  step.invert = invert;
  // Files write line ends both as themselves and as escapes.
  const std::string spelled = absl::StrReplaceAll(
      pattern, {{"\r", "\\r"}, {"\n", "\\n"}, {"\t", "\\t"}});
  for (const BehaviorName& row : kBehaviors) {
    if (row.behavior == behavior) {
      step.signature =
          absl::StrCat(row.signature, invert ? "!:" : ":", spelled);
    }
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddByteLevel(const JsonValue& json) {
  if (byte_level_) {
    return absl::UnimplementedError(absl::StrCat(
        "two ByteLevel pre-tokenizers; ", json.Error("found").message()));
  }
  ASSIGN_OR_RETURN(const bool prefix, BoolOr(json, "add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, BoolOr(json, "use_regex", true));
  if (prefix) {
    Step step;
    step.kind = Kind::kPrefixSpace;
    step.signature = "prefix_space";
    steps_.push_back(std::move(step));
  }
  if (use_regex) {
    RETURN_IF_ERROR(AddSplit(kGpt2Pattern, Behavior::kIsolated, false));
  }
  // Bytes are spelled out only for steps that come after; see AddSplit.
  Step mark;
  mark.kind = Kind::kSplit;
  mark.signature = kByteLevelSignature;
  steps_.push_back(std::move(mark));
  byte_level_ = true;
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddMetaspace(const JsonValue& json) {
  if (byte_level_) {
    return absl::UnimplementedError(
        absl::StrCat("Metaspace after ByteLevel is not supported; ",
                     json.Error("found").message()));
  }
  Step step;
  step.kind = Kind::kMetaspace;
  ASSIGN_OR_RETURN(const JsonValue replacement, json.Get("replacement"));
  ASSIGN_OR_RETURN(const absl::string_view text, replacement.GetString());
  step.replacement = std::string(text);
  absl::string_view scheme = "always";
  if (const auto value = json.FindNonNull("prepend_scheme")) {
    ASSIGN_OR_RETURN(scheme, value->GetString());
  } else {
    ASSIGN_OR_RETURN(const bool prefix, BoolOr(json, "add_prefix_space", true));
    if (!prefix) scheme = "never";
  }
  if (scheme == "never") {
    step.prepend = Prepend::kNever;
  } else if (scheme == "first") {
    step.prepend = Prepend::kFirst;
  } else if (scheme == "always") {
    step.prepend = Prepend::kAlways;
  } else {
    return json.Error(absl::StrCat("unknown prepend_scheme '", scheme, "'"));
  }
  step.signature = absl::StrCat("metaspace(", text, ",", scheme, ")");
  steps_.push_back(std::move(step));
  ASSIGN_OR_RETURN(const bool split, BoolOr(json, "split", true));
  return split ? AddSplit(text, Behavior::kMergedWithNext, false)
               : absl::OkStatus();
}

std::string PreTokenizer::Signature() const {
  std::string out;
  for (const Step& step : steps_) {
    if (step.signature.empty()) continue;
    absl::StrAppend(&out, out.empty() ? "" : " | ", step.signature);
  }
  return out;
}

void PreTokenizer::ApplyStep(const Step& step, const std::vector<TextPiece>& in,
                             std::vector<TextPiece>* out,
                             TextArena* arena) const {
  Regex::Scratch scratch;
  std::vector<Range> ranges;
  for (const TextPiece& piece : in) {
    if (piece.id >= 0) {
      out->push_back(piece);
      continue;
    }
    TextPiece changed = piece;
    switch (step.kind) {
      case Kind::kSplit:
        Split(*step.regex, step.invert, step.behavior, piece, &scratch, &ranges,
              out);
        continue;
      case Kind::kPrefixSpace:
        if (!absl::StartsWith(piece.text, " ")) {
          changed.text = arena->Keep(absl::StrCat(" ", piece.text));
        }
        break;
      case Kind::kSpellBytes:
        changed.text = arena->Keep(byte_alphabet::Encode(piece.text));
        break;
      case Kind::kMetaspace: {
        std::string text =
            absl::StrReplaceAll(piece.text, {{" ", step.replacement}});
        const bool prepend =
            step.prepend == Prepend::kAlways ||
            (step.prepend == Prepend::kFirst && piece.at_start);
        if (prepend && !absl::StartsWith(text, step.replacement)) {
          text.insert(0, step.replacement);
        }
        changed.text = arena->Keep(std::move(text));
        break;
      }
    }
    out->push_back(changed);
  }
}

void PreTokenizer::Apply(std::vector<TextPiece>* pieces,
                         TextArena* arena) const {
  std::vector<TextPiece> out;
  for (const Step& step : steps_) {
    if (step.kind == Kind::kSplit && step.regex == nullptr) continue;
    out.clear();
    out.reserve(pieces->size());
    ApplyStep(step, *pieces, &out, arena);
    pieces->swap(out);
  }
}

}  // namespace narrow
