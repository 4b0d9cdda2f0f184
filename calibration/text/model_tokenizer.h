// The tokenizer that belongs to a model.
//
//   ASSIGN_OR_RETURN(auto tokenizer,
//                    OpenModelTokenizer(model, TokenizerReading::kOwn));

#ifndef NARROW_CALIBRATION_TEXT_MODEL_TOKENIZER_H_
#define NARROW_CALIBRATION_TEXT_MODEL_TOKENIZER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {

enum class TokenizerReading {
  // As the model's own directory has it, with the ids of the `tokenizers`
  // package; for a GGUF file, as llama.cpp.
  kOwn,
  // As llama.cpp reads the vocabulary that it makes of the model.
  kLlamaCpp,
};

// InvalidArgument if the model was opened without a tokenizer or has none.
absl::StatusOr<std::unique_ptr<Tokenizer>> OpenModelTokenizer(
    const Checkpoint& model, TokenizerReading reading);

// InvalidArgument: the model has no tokenizer.
absl::Status NoTokenizer(const Checkpoint& model);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_MODEL_TOKENIZER_H_
