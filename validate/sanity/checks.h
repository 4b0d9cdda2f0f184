// The checks of sanity.h, one function a kind; findings are appended.

#ifndef NARROW_VALIDATE_SANITY_CHECKS_H_
#define NARROW_VALIDATE_SANITY_CHECKS_H_

#include "absl/status/status.h"
#include "formats/arch/checkpoint.h"
#include "formats/metadata.h"
#include "validate/sanity/sanity.h"

namespace narrow {

// Names and shapes, and CheckLeftOver.
void CheckTensors(const Checkpoint& original, const Checkpoint& candidate,
                  const ExpectedTypes* expected, SanityReport* report);
// What is left unquantized, against `expected`; or where that is null, beside
// its like in other layers.
void CheckLeftOver(const Checkpoint& candidate, const ExpectedTypes* expected,
                   SanityReport* report);
// Every weight of the candidate: finite, and not all zero.
absl::Status CheckWeights(const Checkpoint& original,
                          const Checkpoint& candidate,
                          const SanityOptions& options, SanityReport* report);
// tokenizer.ggml.* of both, and the ids of the fixed text.
void CheckTokenizer(const Metadata& original, const Metadata& candidate,
                    SanityReport* report);
// tokenizer.chat_template* of both, and the fixed conversations.
void CheckChatTemplate(const Metadata& original, const Metadata& candidate,
                       SanityReport* report);

}  // namespace narrow

#endif  // NARROW_VALIDATE_SANITY_CHECKS_H_
