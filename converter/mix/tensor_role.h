// What a tensor is for, told from its GGUF name as llama-quantize tells it,
// and whether it may be quantized at all.
//
//   TensorRole role = RoleOf("blk.3.attn_v.weight");  // kAttentionV
//
// Names are enough, so GGUF files of families unknown to us are served too.

#ifndef NARROW_CONVERTER_MIX_TENSOR_ROLE_H_
#define NARROW_CONVERTER_MIX_TENSOR_ROLE_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/tensor.h"

namespace narrow {

enum class TensorRole : uint8_t {
  kTokenEmbedding,
  kOutput,
  kAttentionQ,
  kAttentionK,
  kAttentionV,
  kAttentionQkv,
  kAttentionKvB,  // second factor of latent key-value projections
  kAttentionOutput,
  kFfnUp,
  kFfnGate,
  kFfnDown,
  kOther,
};

TensorRole RoleOf(absl::string_view gguf_name);
// "attention value", for messages.
absl::string_view RoleName(TensorRole role);
// Whether the role is counted as an attention value (v, fused qkv, kv_b).
bool IsAttentionV(TensorRole role);

// Why a tensor of family `arch` keeps its type whatever is asked, or "" if it
// may change: fewer than two dimensions (trailing sizes of 1 do not count),
// not a weight, or one of the names that llama-quantize leaves alone.
absl::string_view KeepReason(absl::string_view arch, const TensorMeta& meta);

}  // namespace narrow

#endif  // NARROW_CONVERTER_MIX_TENSOR_ROLE_H_
