#include "formats/tokenizer/hf_export/score_merges.h"

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

bool Merges(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUserDefined ||
         type == TokenType::kUnused;
}

// A token cut after `left_bytes` of its text.
struct Cut {
  bool is_user_defined;
  float score;
  int32_t id;
  size_t left_bytes;

  bool operator<(const Cut& other) const {
    return std::make_tuple(!is_user_defined, -score, id, -int64_t(left_bytes)) <
           std::make_tuple(!other.is_user_defined, -other.score, other.id,
                           -int64_t(other.left_bytes));
  }
};

}  // namespace

ScoreMerges MergesFromScores(const Vocabulary& v,
                             absl::Span<const std::string> texts) {
  absl::flat_hash_set<absl::string_view> words;
  words.reserve(texts.size());
  for (size_t id = 0; id < texts.size(); ++id) {
    if (Merges(v.types[id])) words.insert(texts[id]);
  }
  std::vector<Cut> cuts;
  for (size_t id = 0; id < texts.size(); ++id) {
    if (!Merges(v.types[id])) continue;
    const absl::string_view text = texts[id];
    for (size_t i = 0; i < text.size();) {
      i += utf8::Length(static_cast<unsigned char>(text[i]));
      if (i < text.size() && words.contains(text.substr(0, i)) &&
          words.contains(text.substr(i))) {
        cuts.push_back({v.types[id] == TokenType::kUserDefined, v.scores[id],
                        static_cast<int32_t>(id), i});
      }
    }
  }
  std::sort(cuts.begin(), cuts.end());
  ScoreMerges result;
  result.merges.reserve(cuts.size());
  for (size_t i = 0; i < cuts.size(); ++i) {
    const Cut& cut = cuts[i];
    const std::string& text = texts[cut.id];
    result.merges.emplace_back(text.substr(0, cut.left_bytes),
                               text.substr(cut.left_bytes));
    result.has_ties =
        result.has_ties ||
        (i > 0 && !cut.is_user_defined && !cuts[i - 1].is_user_defined &&
         cuts[i - 1].score == cut.score && cuts[i - 1].id != cut.id);
  }
  return result;
}

}  // namespace narrow
