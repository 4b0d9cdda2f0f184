// The "decoder" of tokenizer.json: the texts of tokens made into one text.
// Immutable and safe to share.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_DECODER_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_DECODER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/regex/regex.h"

namespace narrow {

class Decoder {
 public:
  // Without steps tokens are joined by spaces.
  Decoder() = default;

  // Unimplemented for a type that we lack, with its name.
  static absl::StatusOr<Decoder> FromJson(const JsonValue& json);

  std::string Apply(std::vector<std::string> tokens) const;

 private:
  enum class Kind {
    kByteLevel,
    kReplace,
    kByteFallback,
    kFuse,
    kStrip,
    kMetaspace,
  };
  struct Step {
    Kind kind;
    std::shared_ptr<const Regex> regex;  // kReplace
    std::string content;                 // kReplace, kStrip, kMetaspace
    int64_t start = 0;                   // kStrip: at most so many
    int64_t stop = 0;
    bool drop_first = false;  // kMetaspace
  };

  absl::Status AddStep(const JsonValue& json, int depth);
  static void ApplyStep(const Step& step, std::vector<std::string>* tokens);

  bool joins_by_space_ = true;
  std::vector<Step> steps_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_DECODER_H_
