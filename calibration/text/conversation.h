// A conversation as a model sees it, and which of its tokens are the
// assistant's.
//
//   ASSIGN_OR_RETURN(TokenRecord record,
//                    TokenizeConversation(*chat, *tokenizer, line,
//                                         /*assistant_only=*/true));
//
// The template writes all special tokens itself, so the tokenizer adds none.
//
// The assistant's tokens: for every message of role "assistant", the
// conversation up to it is rendered with the prompt that asks for an answer,
// and up to and including it without; what the first has in common with the
// whole, token by token, comes before the answer, what the second has in
// common ends with it, the token that ends the turn included. Some templates
// render earlier turns otherwise once others follow (they drop its reasoning).
// Then only what both renderings share is counted: from the first difference
// on the turn's tokens do not count, and where the difference lies before the
// turn, none of it does. So no other role's token is ever counted, at the
// price of some of the assistant's.

#ifndef NARROW_CALIBRATION_TEXT_CONVERSATION_H_
#define NARROW_CALIBRATION_TEXT_CONVERSATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/chat/chat_template.h"
#include "formats/json/json.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {

// One text's tokens; counts as in CalibrationSamples.
struct TokenRecord {
  std::vector<int32_t> ids;
  std::vector<uint8_t> counts;
};

// `messages` is an array of objects with a "role"; `tools`, an array, may be
// null. InvalidArgument: not that, or what the template refuses.
absl::StatusOr<TokenRecord> TokenizeConversation(const ChatTemplate& chat,
                                                 const Tokenizer& tokenizer,
                                                 const JsonValue& messages,
                                                 const JsonValue* tools,
                                                 bool assistant_only);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_CONVERSATION_H_
