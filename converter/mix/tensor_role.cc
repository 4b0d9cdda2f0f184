#include "converter/mix/tensor_role.h"

#include "absl/strings/match.h"

namespace narrow {
namespace {

struct RoleRow {
  const char* part;  // of the name; the first row that matches decides
  TensorRole role;
};

constexpr RoleRow kRoles[] = {
    {"attn_qkv.weight", TensorRole::kAttentionQkv},
    {"attn_kv_b.weight", TensorRole::kAttentionKvB},
    {"attn_v.weight", TensorRole::kAttentionV},
    {"attn_k.weight", TensorRole::kAttentionK},
    {"attn_q.weight", TensorRole::kAttentionQ},
    {"attn_output.weight", TensorRole::kAttentionOutput},
    {"ffn_up", TensorRole::kFfnUp},
    {"ffn_gate", TensorRole::kFfnGate},
    {"ffn_down", TensorRole::kFfnDown},
};

struct KeepRow {
  const char* part;
  const char* reason;
  const char* arch = nullptr;  // of one family only
};

// Tensors that llama-quantize never touches, by part of their name.
constexpr KeepRow kKept[] = {
    {"_norm.weight", "norm"},
    {"ffn_gate_inp.weight", "expert router"},
    {"ffn_gate_tid2eid.weight", "expert table"},
    {"altup", "small projection"},
    {"laurel", "small projection"},
    {"per_layer_model_proj", "small projection"},
    {"ssm_conv1d", "small convolution"},
    {"shortconv.conv.weight", "small convolution"},
    {"indexer.k_proj.weight", "small projection"},
    {"indexer.q_proj.weight", "small projection"},
    {"time_mix_first.weight", "small mixer"},
    {"time_mix_w0.weight", "small mixer"},
    {"time_mix_w1.weight", "small mixer"},
    {"time_mix_w2.weight", "small mixer"},
    {"time_mix_v0.weight", "small mixer"},
    {"time_mix_v1.weight", "small mixer"},
    {"time_mix_v2.weight", "small mixer"},
    {"time_mix_a0.weight", "small mixer"},
    {"time_mix_a1.weight", "small mixer"},
    {"time_mix_a2.weight", "small mixer"},
    {"time_mix_g1.weight", "small mixer"},
    {"time_mix_g2.weight", "small mixer"},
    {"time_mix_decay_w1.weight", "small mixer"},
    {"time_mix_decay_w2.weight", "small mixer"},
    {"time_mix_lerp_fused.weight", "small mixer"},
    {"attn_rel_b.weight", "position bias"},
    {".position_embd", "position embedding"},
    {"sam.pos_embd", "position embedding"},
    {"sam.neck.", "vision layer"},
    {"sam.net_", "vision layer"},
    {".rel_pos", "position embedding"},
    {".patch_embd", "vision layer"},
    {".patch_merger", "vision layer"},
    {"a.rvq.codebook", "audio codebook"},
    {"mm.a.code_embd", "audio codebook"},
    {"hc_", "small mixer", "glm5-next"},
    {"indexer.attn_q_b", "small projection", "glm5-next"},
    {"indexer.attn_k", "small projection", "glm5-next"},
    {"indexer.proj", "small projection", "glm5-next"},
    {"indexer_compressor_gate", "small projection", "glm5-next"},
    {"indexer_compressor_ape", "position embedding", "glm5-next"},
    {"ssm_f_a.weight", "small projection", "glm5-next"},
    {"ssm_f_b.weight", "small projection", "glm5-next"},
    {"ssm_g_a.weight", "small projection", "glm5-next"},
    {"ssm_g_b.weight", "small projection", "glm5-next"},
    {"ssm_beta.weight", "small projection", "glm5-next"},
    {"attn_kv_a_mqa.weight", "small projection", "glm5-next"},
    {"attn_k_b.weight", "small projection", "glm5-next"},
    {"attn_v_b.weight", "small projection", "glm5-next"},
};

// Sizes up to the last that is not 1, at least one.
int EffectiveRank(absl::Span<const int64_t> shape) {
  size_t leading = 0;
  while (leading < shape.size() && shape[leading] == 1) {
    ++leading;
  }
  const int rank = static_cast<int>(shape.size() - leading);
  return rank < 1 ? 1 : rank;
}

}  // namespace

TensorRole RoleOf(absl::string_view name) {
  if (name == "output.weight") {
    return TensorRole::kOutput;
  }
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") {
    return TensorRole::kTokenEmbedding;
  }
  for (const RoleRow& row : kRoles) {
    if (absl::StrContains(name, row.part)) {
      return row.role;
    }
  }
  return TensorRole::kOther;
}

absl::string_view RoleName(TensorRole role) {
  switch (role) {
    case TensorRole::kTokenEmbedding:
      return "token embedding";
    case TensorRole::kOutput:
      return "output";
    case TensorRole::kAttentionQ:
      return "attention query";
    case TensorRole::kAttentionK:
      return "attention key";
    case TensorRole::kAttentionV:
      return "attention value";
    case TensorRole::kAttentionQkv:
      return "attention qkv";
    case TensorRole::kAttentionKvB:
      return "attention kv_b";
    case TensorRole::kAttentionOutput:
      return "attention output";
    case TensorRole::kFfnUp:
      return "feed-forward up";
    case TensorRole::kFfnGate:
      return "feed-forward gate";
    case TensorRole::kFfnDown:
      return "feed-forward down";
    case TensorRole::kOther:
      return "other";
  }
  return "other";
}

bool IsAttentionV(TensorRole role) {
  return role == TensorRole::kAttentionV || role == TensorRole::kAttentionQkv ||
         role == TensorRole::kAttentionKvB;
}

absl::string_view KeepReason(absl::string_view arch, const TensorMeta& meta) {
  // GGUF's first dimension is the innermost: sizes of 1 that lead here trail
  // there, and trailing ones do not count.
  if (EffectiveRank(meta.shape) < 2) {
    return "one dimension";
  }
  if (!absl::EndsWith(meta.name, "weight")) {
    return "not a weight";
  }
  if (meta.name == "position_embd.weight") {
    return "position embedding";
  }
  if (meta.name == "token_types.weight") {
    return "token types";
  }
  for (const KeepRow& row : kKept) {
    if ((row.arch == nullptr || arch == row.arch) &&
        absl::StrContains(meta.name, row.part)) {
      return row.reason;
    }
  }
  return "";
}

}  // namespace narrow
