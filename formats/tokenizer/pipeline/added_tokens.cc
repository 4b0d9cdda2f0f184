#include "formats/tokenizer/pipeline/added_tokens.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>

#include "formats/base/text/utf8.h"
#include "formats/regex/code_point_set.h"

namespace narrow {
namespace {

const CodePointSet& Property(absl::string_view name) {
  static const CodePointSet* const kSpace =
      new CodePointSet(*PropertyRanges("space"));
  // Of the published library's other regular expressions, which count the
  // joiners too but not Oniguruma's fractions and superscripts.
  static const CodePointSet* const kWord = new CodePointSet(Union(
      Intersection(*PropertyRanges("word"),
                   Complement({{0xb2, 0xb3}, {0xb9, 0xb9}, {0xbc, 0xbe}})),
      {{0x200c, 0x200d}}));
  return name == "space" ? *kSpace : *kWord;
}

bool EndsInWord(absl::string_view text) {
  size_t n;
  return !text.empty() && Property("word").Contains(utf8::Read(
                              text.data() + utf8::Back(text, text.size()), &n));
}

bool StartsInWord(absl::string_view text) {
  size_t n;
  return !text.empty() &&
         Property("word").Contains(utf8::Read(text.data(), &n));
}

size_t SpaceStart(absl::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t last = utf8::Back(text, end);
    size_t n;
    if (!Property("space").Contains(utf8::Read(text.data() + last, &n))) break;
    end = last;
  }
  return end;
}

size_t SpaceBytes(absl::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    size_t n;
    if (!Property("space").Contains(utf8::Read(text.data() + pos, &n))) break;
    pos += n;
  }
  return pos;
}

}  // namespace

void AddedTokens::Add(const AddedToken& token, absl::string_view text) {
  if (text.empty()) return;
  int32_t node = 0;
  for (const char c : text) {
    const auto [it, is_new] = next_[node].emplace(
        static_cast<uint8_t>(c), static_cast<int32_t>(next_.size()));
    const int32_t child = it->second;
    if (node == 0) first_[static_cast<uint8_t>(c)] = child;
    if (is_new) {
      next_.emplace_back();
      token_at_node_.push_back(-1);
    }
    node = child;
  }
  token_at_node_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

const AddedToken* AddedTokens::Longest(absl::string_view text, size_t pos,
                                       size_t* length) const {
  const AddedToken* found = nullptr;
  int32_t node = first_[static_cast<uint8_t>(text[pos])];
  for (size_t i = pos + 1; node != 0; ++i) {
    if (token_at_node_[node] >= 0) {
      found = &tokens_[token_at_node_[node]];
      *length = i - pos;
    }
    if (i >= text.size()) break;
    const auto it = next_[node].find(static_cast<uint8_t>(text[i]));
    if (it == next_[node].end()) break;
    node = it->second;
  }
  return found;
}

void AddedTokens::Cut(const TextPiece& piece, bool parse_special,
                      std::vector<TextPiece>* out) const {
  const absl::string_view text = piece.text;
  size_t copied = 0;
  const auto push = [&](size_t start, size_t end, int32_t id) {
    if (end > start || id >= 0) {
      out->push_back(
          {text.substr(start, end - start), id, piece.at_start && start == 0});
    }
  };
  for (size_t pos = 0; pos < text.size();) {
    size_t length = 0;
    const AddedToken* token = Longest(text, pos, &length);
    if (token == nullptr) {
      ++pos;
      continue;
    }
    size_t start = pos;
    size_t end = pos + length;
    pos = end;  // a match that does not count is not searched again
    if (!parse_special && token->special) continue;
    if (token->single_word &&
        (EndsInWord(text.substr(0, start)) || StartsInWord(text.substr(end)))) {
      continue;
    }
    if (token->lstrip) {
      start = std::max(SpaceStart(text.substr(0, start)), copied);
    }
    if (token->rstrip) end += SpaceBytes(text.substr(end));
    if (start > copied) push(copied, start, -1);
    push(start, end, token->id);
    copied = end;
    pos = std::max(pos, end);
  }
  push(copied, text.size(), -1);
}

void AddedTokens::Apply(bool parse_special,
                        std::vector<TextPiece>* pieces) const {
  if (empty()) return;
  std::vector<TextPiece> out;
  for (const TextPiece& piece : *pieces) {
    if (piece.id >= 0) {
      out.push_back(piece);
    } else {
      Cut(piece, parse_special, &out);
    }
  }
  pieces->swap(out);
}

void AddedTokens::CutLongestFirst(const TextPiece& piece, bool parse_special,
                                  std::vector<TextPiece>* out) const {
  const absl::string_view text = piece.text;
  struct Found {
    size_t start;
    size_t length;
    const AddedToken* token;
  };
  std::vector<Found> all;
  for (size_t pos = 0; pos < text.size(); ++pos) {
    int32_t node = first_[static_cast<uint8_t>(text[pos])];
    for (size_t i = pos + 1; node != 0; ++i) {
      if (token_at_node_[node] >= 0) {
        const AddedToken& token = tokens_[token_at_node_[node]];
        if (parse_special || !token.special) {
          all.push_back({pos, i - pos, &token});
        }
      }
      if (i >= text.size()) break;
      const auto it = next_[node].find(static_cast<uint8_t>(text[i]));
      node = it == next_[node].end() ? 0 : it->second;
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
    return a.length > b.length;
  });
  std::map<size_t, Found> taken;  // by start
  for (const Found& found : all) {
    const auto next = taken.lower_bound(found.start);
    if (next != taken.end() && next->first < found.start + found.length) {
      continue;
    }
    if (next != taken.begin()) {
      const Found& before = std::prev(next)->second;
      if (before.start + before.length > found.start) continue;
    }
    taken.emplace(found.start, found);
  }
  const auto is_space = [&](size_t i) {
    return isspace(static_cast<unsigned char>(text[i])) != 0;
  };
  size_t copied = 0;
  for (const auto& [start, found] : taken) {
    size_t end = start;
    while (found.token->lstrip && end > copied && is_space(end - 1)) --end;
    if (end > copied) {
      out->push_back({text.substr(copied, end - copied), -1,
                      piece.at_start && copied == 0});
    }
    out->push_back({text.substr(start, found.length), found.token->id,
                    piece.at_start && start == 0});
    copied = start + found.length;
    const auto next = taken.upper_bound(start);
    const size_t limit = next == taken.end() ? text.size() : next->first;
    while (found.token->rstrip && copied < limit && is_space(copied)) ++copied;
  }
  if (copied < text.size()) {
    out->push_back({text.substr(copied), -1, piece.at_start && copied == 0});
  }
}

void AddedTokens::ApplyLongestFirst(bool parse_special,
                                    std::vector<TextPiece>* pieces) const {
  if (empty()) return;
  std::vector<TextPiece> out;
  for (const TextPiece& piece : *pieces) {
    if (piece.id >= 0) {
      out.push_back(piece);
    } else {
      CutLongestFirst(piece, parse_special, &out);
    }
  }
  pieces->swap(out);
}

}  // namespace narrow
