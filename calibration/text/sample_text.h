// Calibration samples from text files: plain text, JSONL with a field, JSONL
// of conversations rendered with the model's chat template.
//
//   SampleOptions options;
//   options.n_samples = 128;
//   options.sample_tokens = 512;
//   ASSIGN_OR_RETURN(CalibrationSamples s,
//                    SampleTexts(model, {"wiki.valid.tokens"}, options));
//
// Texts are tokenized and packed: plain files as one stream cut into windows,
// records of JSONL one after another, each with the tokenizer's own special
// tokens, cut into windows likewise (`pack`), or one record a window, cut or
// padded (not `pack`). Windows without a token that counts are left out. Of
// the others, n_samples are chosen: the first ones; with `spread` every so
// many-th, from the beginning to the end (of long texts: of 64 times what is
// wanted), so that many subjects are seen; or with a seed above 0 a random
// choice that is the same on every machine, in the order of the text.
//
// Special tokens that a text spells out are read as such. A conversation's
// "tools" beside its messages are given to the template too. What
// assistant_only does where a template rewrites earlier turns:
// conversation.h.

#ifndef NARROW_CALIBRATION_TEXT_SAMPLE_TEXT_H_
#define NARROW_CALIBRATION_TEXT_SAMPLE_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "calibration/text/text_kind.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct SampleOptions {
  TextKind kind = TextKind::kAuto;
  std::string field;        // empty: "text", or "messages" for conversations
  int64_t n_samples = 128;  // < 1: all there are
  bool fewer = false;       // as many as there are, where these are fewer
  int64_t sample_tokens = 512;
  uint64_t seed = 0;
  bool spread = false;  // with seed 0
  bool pack = true;     // plain text always is
  // Where the tokenizer begins texts with a BOS token, it takes the place of
  // the first token of every packed window, as when a model is run or judged:
  // the first token draws attention and large activations like no other.
  bool window_bos = false;
  // Conversations: only tokens of assistant turns count.
  bool assistant_only = false;
};

// InvalidArgument: a text too short (the tokens there are and those needed),
// options out of range or of no use for a kind of text, a line that is no JSON
// object or lacks the field (file, line number), a tokenizer with more tokens
// than the model. NotFound, DataLoss: files. Unimplemented: a chat
// template that uses what we lack, named.
absl::StatusOr<CalibrationSamples> SampleTexts(
    const Checkpoint& model, const std::vector<std::string>& paths,
    const SampleOptions& options);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_SAMPLE_TEXT_H_
