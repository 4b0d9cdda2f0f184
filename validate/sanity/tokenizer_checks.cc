// Tokens, their types, special ids, ids of the fixed text, and the chat
// template.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "formats/base/status.h"
#include "formats/chat/chat_template.h"
#include "formats/json/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/vocabulary.h"
#include "validate/sanity/checks.h"
#include "validate/sanity/fixed_texts.h"

namespace narrow {
namespace {

constexpr char kTokenizer[] = "tokenizer";
constexpr char kChat[] = "chat template";
constexpr char kTemplateKey[] = "tokenizer.chat_template";
constexpr char kTokensKey[] = "tokenizer.ggml.tokens";
// Findings of a kind; one wrong vocabulary has as many as tokens.
constexpr int kMaxShown = 8;
constexpr size_t kShownBytes = 40;

const char* TypeText(TokenType type) {
  switch (type) {
    case TokenType::kNormal:
      return "normal";
    case TokenType::kUnknown:
      return "unknown";
    case TokenType::kControl:
      return "control";
    case TokenType::kUserDefined:
      return "user-defined";
    case TokenType::kUnused:
      return "unused";
    case TokenType::kByte:
      return "byte";
  }
  return "?";
}

void Add(SanitySeverity severity, const char* check, std::string subject,
         std::string message, std::string original, std::string candidate,
         SanityReport* report) {
  report->findings.push_back({severity, check, std::move(subject),
                              std::move(message), std::move(original),
                              std::move(candidate)});
}

std::string TokenName(size_t id, const std::string& token) {
  return absl::StrCat("token ", id, " ", QuotedName(token));
}

void CompareTokens(const Vocabulary& a, const Vocabulary& b,
                   SanityReport* report) {
  if (a.tokens.size() != b.tokens.size()) {
    Add(SanitySeverity::kError, kTokenizer, "vocabulary", "has another size",
        absl::StrCat(a.tokens.size()), absl::StrCat(b.tokens.size()), report);
  }
  if (a.kind != b.kind || a.pre != b.pre) {
    Add(SanitySeverity::kError, kTokenizer, "kind",
        "or pattern of pre-tokens differs",
        a.kind == VocabularyKind::kGpt2 ? absl::StrCat("gpt2 ", a.pre)
                                        : absl::StrCat("llama ", a.pre),
        b.kind == VocabularyKind::kGpt2 ? absl::StrCat("gpt2 ", b.pre)
                                        : absl::StrCat("llama ", b.pre),
        report);
  }
  if (a.merges != b.merges || a.scores != b.scores) {
    Add(SanitySeverity::kError, kTokenizer, "merges", "or scores differ", "",
        "", report);
  }
  const size_t n = std::min(a.tokens.size(), b.tokens.size());
  report->n_tokens_compared = static_cast<int64_t>(n);
  int n_other = 0, n_types = 0;
  for (size_t id = 0; id < n; ++id) {
    if (a.tokens[id] != b.tokens[id] && n_other++ < kMaxShown) {
      Add(SanitySeverity::kError, kTokenizer, absl::StrCat("token ", id),
          "is another", QuotedName(a.tokens[id]), QuotedName(b.tokens[id]),
          report);
    }
    if (id < a.types.size() && id < b.types.size() &&
        a.types[id] != b.types[id] && n_types++ < kMaxShown) {
      Add(SanitySeverity::kError, kTokenizer, TokenName(id, a.tokens[id]),
          "has another type", TypeText(a.types[id]), TypeText(b.types[id]),
          report);
    }
  }
  for (const auto& [number, what] :
       {std::make_pair(n_other, "tokens"), std::make_pair(n_types, "types")}) {
    if (number > kMaxShown) {
      Add(SanitySeverity::kError, kTokenizer, "vocabulary",
          absl::StrCat("differs in ", number, " ", what, "; the first ",
                       kMaxShown, " are listed"),
          "", "", report);
    }
  }
}

std::string IdText(const Vocabulary& vocabulary, absl::string_view name) {
  const std::optional<int64_t> id = vocabulary.SpecialId(name);
  if (!id.has_value()) {
    return "";
  }
  const bool known =
      *id >= 0 && static_cast<size_t>(*id) < vocabulary.tokens.size();
  return absl::StrCat(
      *id, " ",
      known ? QuotedName(vocabulary.tokens[static_cast<size_t>(*id)]) : "");
}

// BOS, EOS, what else ends a turn, padding; and whether BOS and EOS are added.
void CompareSpecials(const Vocabulary& a, const Vocabulary& b,
                     SanityReport* report) {
  for (const char* name :
       {"bos", "eos", "eot", "eom", "unk", "sep", "pad", "mask"}) {
    const std::string was = IdText(a, name);
    const std::string is = IdText(b, name);
    if (was != is) {
      Add(SanitySeverity::kError, kTokenizer, absl::StrCat(name, " token"),
          "is another", was, is, report);
    }
    const auto added = a.AddsSpecial(name);
    const auto adds = b.AddsSpecial(name);
    if (added != adds) {
      const auto text = [](std::optional<bool> value) {
        return !value.has_value() ? "" : *value ? "added" : "not added";
      };
      Add(SanitySeverity::kError, kTokenizer, absl::StrCat(name, " token"),
          "around a text", text(added), text(adds), report);
    }
  }
}

std::string IdsFrom(const std::vector<int32_t>& ids, size_t first) {
  std::string text;
  for (size_t i = first; i < ids.size() && i < first + 4; ++i) {
    absl::StrAppend(&text, text.empty() ? "" : " ", ids[i]);
  }
  return text.empty() ? "the end" : text;
}

void CompareIds(const Tokenizer& a, const Tokenizer& b, SanityReport* report) {
  for (const FixedText& fixed : SanityTexts()) {
    for (const bool special : {false, true}) {
      EncodeOptions options;
      options.parse_special = special;
      const std::vector<int32_t> was = a.Encode(fixed.text, options);
      const std::vector<int32_t> is = b.Encode(fixed.text, options);
      report->n_text_ids += static_cast<int64_t>(was.size());
      if (was == is) {
        continue;
      }
      const size_t first = static_cast<size_t>(
          std::mismatch(was.begin(),
                        was.begin() + static_cast<ptrdiff_t>(
                                          std::min(was.size(), is.size())),
                        is.begin())
              .first -
          was.begin());
      Add(SanitySeverity::kError, kTokenizer,
          absl::StrCat("text '", fixed.name, "'"),
          absl::StrCat("has other ids from id ", first, " on"),
          IdsFrom(was, first), IdsFrom(is, first), report);
      break;
    }
  }
}

// Around the first difference.
std::string Excerpt(const std::string& text, size_t at) {
  return QuotedName(text.substr(at, kShownBytes));
}

void CompareTexts(const std::string& subject, const std::string& was,
                  const std::string& is, SanitySeverity severity,
                  SanityReport* report) {
  if (was == is) {
    return;
  }
  size_t at = 0;
  while (at < was.size() && at < is.size() && was[at] == is[at]) {
    ++at;
  }
  Add(severity, kChat, subject, absl::StrCat("differs from byte ", at, " on"),
      Excerpt(was, at), Excerpt(is, at), report);
}

void CompareConversations(const ChatTemplate& a, const ChatTemplate& b,
                          SanityReport* report) {
  for (const FixedConversation& fixed : SanityConversations()) {
    const auto messages = JsonDocument::Parse(fixed.messages, fixed.name);
    if (!messages.ok()) {
      continue;  // ours; a test parses them
    }
    ChatRenderOptions options;
    options.add_generation_prompt = true;
    options.variables_json = fixed.variables;
    const auto was = a.Render((*messages)->root(), options);
    const auto is = b.Render((*messages)->root(), options);
    const std::string subject =
        absl::StrCat("a conversation ('", fixed.name, "')");
    if (was.ok() && is.ok()) {
      ++report->n_conversations;
      CompareTexts(subject, *was, *is, SanitySeverity::kError, report);
    } else if (was.ok() != is.ok()) {
      Add(SanitySeverity::kError, kChat, subject, "is refused by one",
          was.ok() ? "rendered" : OneLine(was.status().message()),
          is.ok() ? "rendered" : OneLine(is.status().message()), report);
    }
  }
}

}  // namespace

void CheckTokenizer(const Metadata& original, const Metadata& candidate,
                    SanityReport* report) {
  if (!original.Has(kTokensKey)) {
    Add(SanitySeverity::kNote, kTokenizer, "",
        "the original was opened without a tokenizer", "", "", report);
    return;
  }
  const auto a = VocabularyFromGguf(original);
  const auto b = VocabularyFromGguf(candidate);
  if (!a.ok() || !b.ok()) {
    Add(a.ok() ? SanitySeverity::kError : SanitySeverity::kNote, kTokenizer, "",
        "cannot be read", a.ok() ? "read" : OneLine(a.status().message()),
        b.ok() ? "read" : OneLine(b.status().message()), report);
    return;
  }
  CompareTokens(*a, *b, report);
  CompareSpecials(*a, *b, report);
  const auto first = Tokenizer::FromGguf(original);
  const auto second = Tokenizer::FromGguf(candidate);
  if (first.ok() && second.ok()) {
    CompareIds(**first, **second, report);
  } else if (first.ok() != second.ok()) {
    Add(SanitySeverity::kError, kTokenizer, "", "works in one only",
        first.ok() ? "works" : OneLine(first.status().message()),
        second.ok() ? "works" : OneLine(second.status().message()), report);
  }
}

void CheckChatTemplate(const Metadata& original, const Metadata& candidate,
                       SanityReport* report) {
  const auto was = original.GetString(kTemplateKey);
  const auto is = candidate.GetString(kTemplateKey);
  if (!was.has_value() && !is.has_value()) {
    return;
  }
  if (was.has_value() != is.has_value()) {
    Add(was.has_value() ? SanitySeverity::kError : SanitySeverity::kWarning,
        kChat, kTemplateKey, was.has_value() ? "is missing" : "was added",
        was.has_value() ? Excerpt(*was, 0) : "",
        is.has_value() ? Excerpt(*is, 0) : "", report);
    return;
  }
  const auto a = ChatTemplate::FromMetadata(original);
  const auto b = ChatTemplate::FromMetadata(candidate);
  const size_t n_before = report->findings.size();
  if (a.ok() && b.ok()) {
    CompareConversations(**a, **b, report);
  } else if (a.ok() != b.ok()) {
    Add(SanitySeverity::kError, kChat, kTemplateKey, "parses in one only",
        a.ok() ? "parses" : OneLine(a.status().message()),
        b.ok() ? "parses" : OneLine(b.status().message()), report);
  }
  // Other words that say the same may be a mended template.
  CompareTexts(kTemplateKey, *was, *is,
               n_before == report->findings.size() && a.ok()
                   ? SanitySeverity::kWarning
                   : SanitySeverity::kError,
               report);
}

}  // namespace narrow
