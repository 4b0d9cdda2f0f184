// What tokenizers and chat templates are compared on: the same for every
// model, so that a candidate is not judged on a text that happens to suit it.

#ifndef NARROW_VALIDATE_SANITY_FIXED_TEXTS_H_
#define NARROW_VALIDATE_SANITY_FIXED_TEXTS_H_

#include "absl/types/span.h"

namespace narrow {

struct FixedText {
  const char* name;  // "Arabic"
  const char* text;
};

// Scripts, emoji, code, runs of white space, numbers.
absl::Span<const FixedText> SanityTexts();

struct FixedConversation {
  const char* name;       // "with tools"
  const char* messages;   // a JSON array
  const char* variables;  // a JSON object, or ""
};

absl::Span<const FixedConversation> SanityConversations();

}  // namespace narrow

#endif  // NARROW_VALIDATE_SANITY_FIXED_TEXTS_H_
