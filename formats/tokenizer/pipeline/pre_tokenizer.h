// The "pre_tokenizer" of tokenizer.json: how a text is cut into words before
// byte-pair encoding. Immutable and safe to share.
//
//   ASSIGN_OR_RETURN(PreTokenizer p, PreTokenizer::FromJson(json));
//   p.Apply(&pieces, &arena);
//   if (p.byte_level()) ... the words are bytes, by byte_alphabet ...

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_PRE_TOKENIZER_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_PRE_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/regex/regex.h"
#include "formats/tokenizer/pipeline/text_pieces.h"

namespace narrow {

// What a byte-level pre-tokenizer with use_regex splits by.
extern const char kGpt2Pattern[];

class PreTokenizer {
 public:
  enum class Behavior {
    kRemoved,
    kIsolated,
    kMergedWithPrevious,
    kMergedWithNext,
    kContiguous,
  };

  PreTokenizer() = default;

  // Unimplemented for a type that we lack, with its name.
  static absl::StatusOr<PreTokenizer> FromJson(const JsonValue& json);
  // A split by each pattern in turn, matches and gaps both kept.
  static absl::StatusOr<PreTokenizer> FromPatterns(
      const std::vector<std::string>& patterns);

  // Cuts the pieces that are not tokens yet.
  void Apply(std::vector<TextPiece>* pieces, TextArena* arena) const;

  // Whether vocabulary and words are bytes. `bytes_stay_raw`: the words that
  // Apply gives are plain bytes; else, because a step after the byte-level
  // one looks at them, they are spelled in the byte alphabet.
  bool byte_level() const { return byte_level_; }
  bool bytes_stay_raw() const { return byte_level_ && !spells_bytes_; }

  // The steps in words, equal for equal pipelines:
  // "isolated:\p{N}{1,3} | byte_level".
  std::string Signature() const;

 private:
  enum class Kind { kSplit, kPrefixSpace, kMetaspace, kSpellBytes };
  enum class Prepend { kNever, kFirst, kAlways };
  struct Step {
    Kind kind = Kind::kSplit;
    std::string signature;
    std::shared_ptr<const Regex> regex;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    std::string replacement;  // kMetaspace
    Prepend prepend = Prepend::kNever;
  };

  absl::Status AddStep(const JsonValue& json, int depth);
  absl::Status AddByteLevel(const JsonValue& json);
  absl::Status AddMetaspace(const JsonValue& json);
  absl::Status AddSplit(absl::string_view pattern, Behavior behavior,
                        bool invert);
  void ApplyStep(const Step& step, const std::vector<TextPiece>& in,
                 std::vector<TextPiece>* out, TextArena* arena) const;

  std::vector<Step> steps_;
  bool byte_level_ = false;
  bool spells_bytes_ = false;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_PRE_TOKENIZER_H_
