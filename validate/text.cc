#include "validate/text.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "calibration/text/model_tokenizer.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {
namespace {

// Far more than any corpus that is scored token by token, and a bound for a
// device or a model given by mistake.
constexpr int64_t kMaxTextBytes = int64_t{4} << 30;

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";

// Tokens of `model` by id; nullptr if it has no tokenizer.
const std::vector<std::string>* Tokens(const Checkpoint& model) {
  const MetadataValue* value = model.metadata().Find(kTokensKey);
  return value == nullptr ? nullptr
                          : std::get_if<std::vector<std::string>>(value);
}

}  // namespace

absl::StatusOr<JudgedText> ReadText(absl::Span<const std::string> paths) {
  JudgedText result;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxTextBytes));
    if (text.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text is empty; reading ", path));
    }
    if (!utf8::IsValid(text)) {
      const std::string valid = utf8::ToValid(text);
      const auto bad =
          std::mismatch(text.begin(), text.end(), valid.begin(), valid.end());
      result.warnings.push_back(absl::StrCat(
          path, " is not UTF-8 throughout, first at offset ",
          bad.first - text.begin(), "; such bytes are read as U+FFFD"));
    }
    result.text += text;
  }
  return result;
}

absl::StatusOr<TextTokens> TokenizeText(const Checkpoint& model,
                                        Protocol protocol,
                                        absl::string_view text,
                                        bool parse_special) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   OpenModelTokenizer(model, protocol == Protocol::kLlamaCpp
                                                 ? TokenizerReading::kLlamaCpp
                                                 : TokenizerReading::kOwn));
  EncodeOptions options;
  TextTokens tokens;
  if (protocol == Protocol::kLlamaCpp) {
    options.parse_special = parse_special;
    if (!text.empty() && text.back() == '\n') {
      text.remove_suffix(1);
    }
    if (tokenizer->adds_bos()) {
      tokens.window_bos = tokenizer->bos_id();
    }
  }
  tokens.ids = tokenizer->Encode(text, options);
  if (tokenizer->adds_eos() && tokenizer->eos_id() && !tokens.ids.empty() &&
      tokens.ids.back() == *tokenizer->eos_id()) {
    tokens.ids.pop_back();
  }
  return tokens;
}

absl::Status CheckSameVocabulary(const Checkpoint& reference,
                                 const Checkpoint& candidate) {
  const std::vector<std::string>* a = Tokens(reference);
  const std::vector<std::string>* b = Tokens(candidate);
  if (a == nullptr || b == nullptr) {
    return NoTokenizer(a == nullptr ? reference : candidate);
  }
  return CheckSameTokens(*a, reference.path(), *b, candidate.path());
}

absl::Status CheckSameTokens(absl::Span<const std::string> reference,
                             absl::string_view reference_path,
                             absl::Span<const std::string> candidate,
                             absl::string_view candidate_path) {
  const size_t n_common = std::min(reference.size(), candidate.size());
  size_t id = 0;
  while (id < n_common && reference[id] == candidate[id]) {
    ++id;
  }
  if (id == reference.size() && id == candidate.size()) {
    return absl::OkStatus();
  }
  const auto token = [id](absl::Span<const std::string> tokens) {
    return id < tokens.size()
               ? absl::StrCat("'", absl::Utf8SafeCHexEscape(tokens[id]), "'")
               : std::string("missing");
  };
  return absl::InvalidArgumentError(absl::StrCat(
      "the models have different vocabularies, so their perplexities cannot "
      "be compared: token ",
      id, " is ", token(reference), " in ", reference_path, " (",
      reference.size(), " tokens) and ", token(candidate), " in ",
      candidate_path, " (", candidate.size(), " tokens)"));
}

}  // namespace narrow
