#include "converter/fit/role_weight.h"

#include "absl/strings/match.h"

namespace narrow {
namespace {

constexpr char kOutput[] = "output.weight";
constexpr char kEmbedding[] = "token_embd.weight";

struct RoleRow {
  const char* part;  // of the name after "blk.N."; the first that is found
  double weight;
};

// Experts are their layer's matrices, and so are those that all tokens use.
constexpr RoleRow kRows[] = {
    {"attn_qkv", 8},     {"attn_q", 1},      {"attn_k", 1},
    {"attn_v", 6},       {"attn_output", 4}, {"ffn_gate_inp", 1},
    {"ffn_gate_up", 25}, {"ffn_gate", 14},   {"ffn_up", 11},
    {"ffn_down", 19},
};
// Of matrices that other families have, mixers of recurrent states among them.
constexpr double kOther = 6;
constexpr double kOutputWeight = 32;
constexpr double kEmbeddingWeight = 12;

// "attn_q.weight" of every block.
std::string RoleOf(absl::string_view name) {
  if (!absl::StartsWith(name, "blk.")) {
    return std::string(name);
  }
  const size_t dot = name.find('.', 4);
  return dot == name.npos ? std::string(name)
                          : std::string(name.substr(dot + 1));
}

}  // namespace

RoleWeights::RoleWeights(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    ++n_by_role_[RoleOf(name)];
  }
  for (const auto& [role, n] : n_by_role_) {
    total_ += WeightOf(role);
  }
}

double RoleWeights::WeightOf(const std::string& role) const {
  if (role == kOutput) {
    return kOutputWeight;
  }
  if (role == kEmbedding) {
    const bool is_tied = n_by_role_.count(kOutput) == 0;
    return kEmbeddingWeight + (is_tied ? kOutputWeight : 0);
  }
  for (const RoleRow& row : kRows) {
    if (absl::StartsWith(role, row.part)) {
      return row.weight;
    }
  }
  return kOther;
}

double RoleWeights::Of(absl::string_view name) const {
  const std::string role = RoleOf(name);
  const auto it = n_by_role_.find(role);
  return it == n_by_role_.end() ? 0 : WeightOf(role) / total_ / it->second;
}

}  // namespace narrow
