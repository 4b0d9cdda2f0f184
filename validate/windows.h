// Which tokens of a text are scored, and with what before them.
//
//   WindowSettings settings;  // llama.cpp's protocol, windows of 512
//   ASSIGN_OR_RETURN(auto windows, PlanWindows(ids.size(), settings));
//   for (const ScoredWindow& w : windows) ...
//
// Two protocols, since published figures follow one or the other:
//
// kLlamaCpp: windows follow each other without overlap; what is left at the
// end is dropped. Scored is the second half of a window, so that every scored
// token has at least half a window before it: with a context of 512, tokens
// 257 … 511. Where the vocabulary asks for a BOS token, it takes the place of
// token 0 of every window.
//
//   text    |--------|--------|--------|---
//   scored       ****     ****     ****
//
// kHuggingFace: windows advance by `stride`; each scores what the ones before
// it have not scored, that is all of the first and `stride` tokens of the
// others; the last window is cut short by the end of the text. The first
// token of the text has no context and is not scored. With stride == context,
// the first token of every window has none, and is not scored either. Special
// tokens stand only where the tokenizer puts them, around the whole text.
//
//   text    |-----------------------------|
//   scored   *******
//               -----***      (context 8, stride 3)
//                  -----***
//
// Pure functions; safe from any thread.

#ifndef NARROW_VALIDATE_WINDOWS_H_
#define NARROW_VALIDATE_WINDOWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

enum class Protocol { kLlamaCpp, kHuggingFace };

// "llama.cpp", "huggingface".
absl::string_view ProtocolName(Protocol protocol);

struct WindowSettings {
  Protocol protocol = Protocol::kLlamaCpp;
  int64_t context = 512;  // tokens a window
  // kHuggingFace: tokens from the beginning of a window to that of the next,
  // 1 … context. kLlamaCpp: not used.
  int64_t stride = 0;
  // The first so many windows; < 0: all.
  int64_t max_windows = -1;
};

// Tokens [begin, begin + n_tokens) of the text, of which those from
// `first_scored` on (counted from begin, at least 1) are scored: the output
// at position i - 1 against token i.
struct ScoredWindow {
  int64_t begin = 0;
  int64_t n_tokens = 0;
  int64_t first_scored = 1;

  int64_t n_scored() const { return n_tokens - first_scored; }
};

// InvalidArgument for settings out of range.
absl::Status CheckWindowSettings(const WindowSettings& settings);

// Windows over a text of `n_text_tokens`, each scoring one token at least.
// InvalidArgument for settings out of range, and for a text too short: fewer
// than two windows for kLlamaCpp (as llama.cpp has it, since half of one
// window says little), fewer than two tokens for kHuggingFace; the message
// gives the tokens there are and those needed.
absl::StatusOr<std::vector<ScoredWindow>> PlanWindows(
    int64_t n_text_tokens, const WindowSettings& settings);

}  // namespace narrow

#endif  // NARROW_VALIDATE_WINDOWS_H_
