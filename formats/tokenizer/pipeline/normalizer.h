// The "normalizer" of tokenizer.json: what happens to a text before it is
// split. Immutable and safe to share.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_NORMALIZER_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_NORMALIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/regex/regex.h"
#include "formats/tokenizer/pipeline/text_pieces.h"

namespace narrow {

// {"String": s} or {"Regex": r} as a regular expression.
absl::StatusOr<std::string> PatternFromJson(const JsonValue& pattern);

class Normalizer {
 public:
  Normalizer() = default;

  // Unimplemented for a type that we lack, with its name.
  static absl::StatusOr<Normalizer> FromJson(const JsonValue& json);

  bool empty() const { return steps_.empty(); }
  // `text`, valid UTF-8, or a changed copy in `arena`.
  absl::string_view Apply(absl::string_view text, TextArena* arena) const;
  // One word a step, for telling pipelines apart.
  std::string Signature() const;

 private:
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripAccents,
    kStrip,
    kPrepend,
    kReplace,
  };
  struct Step {
    Kind kind;
    std::shared_ptr<const Regex> regex;  // kReplace
    std::string content;                 // kReplace, kPrepend
    bool left = false;                   // kStrip
    bool right = false;
    std::string signature;
  };

  absl::Status AddStep(const JsonValue& json, int depth);

  std::vector<Step> steps_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_NORMALIZER_H_
