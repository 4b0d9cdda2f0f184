// Tested by: sample_text_test, and text_test of validate.

#include "calibration/text/model_tokenizer.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

absl::Status NoTokenizer(const Checkpoint& model) {
  return absl::InvalidArgumentError(
      absl::StrCat("the model has no tokenizer; reading ", model.path()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenModelTokenizer(
    const Checkpoint& model, TokenizerReading reading) {
  if (model.metadata().Find("tokenizer.ggml.tokens") == nullptr) {
    return NoTokenizer(model);
  }
  auto tokenizer = model.is_gguf() || reading == TokenizerReading::kLlamaCpp
                       ? Tokenizer::FromGguf(model.metadata())
                       : Tokenizer::FromHfDirectory(model.path());
  if (!tokenizer.ok()) {
    return Annotate(tokenizer.status(),
                    absl::StrCat("reading the tokenizer of ", model.path()));
  }
  return tokenizer;
}

}  // namespace narrow
