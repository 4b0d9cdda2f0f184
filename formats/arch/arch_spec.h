// A model family as data: its names on both sides, how each tensor changes on
// the way from a Hugging Face checkpoint to GGUF, and what its block computes.
//
//   const ArchSpec* spec = FindArchByHfName("LlamaForCausalLM");
//   for (const TensorRule& rule : spec->rules) ...
//
// Constant tables, one file a family, one row in archs.inc.

#ifndef NARROW_FORMATS_ARCH_ARCH_SPEC_H_
#define NARROW_FORMATS_ARCH_ARCH_SPEC_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/arch/model_config.h"
#include "formats/metadata.h"

namespace narrow {

// What happens to a tensor between checkpoint and GGUF. All are maps of rows,
// or an addition to every element, so that rows can be streamed.
enum class TensorTransform {
  kNone,
  // Rows of each head go from [2, head_dim / 2] order to interleaved pairs,
  // for engines that rotate neighbouring dimensions.
  kInterleaveQuery,
  kInterleaveKey,
  kAddOne,       // Gemma's norms: GGUF stores 1 + w
  kStackExperts  // one matrix an expert -> [n_experts, rows, cols]
};

struct TensorRule {
  // "{}" stands for the layer, a second "{}" for the expert.
  const char* hf_name;
  const char* gguf_name;
  TensorTransform transform;
  bool required;
};

// How a block computes; everything a forward pass must know of a family that
// ModelConfig's numbers do not say.
struct BlockTraits {
  enum class Rope { kInterleaved, kHalves };     // pairs (2i, 2i+1) | (i, i+d/2)
  enum class Activation { kSilu, kGeluTanh };
  Rope rope;
  Activation activation;
  bool fused_qkv;        // attn_qkv holds q, k, v rows in turn
  bool fused_gate_up;    // ffn_up holds gate rows, then up rows
  bool qk_norm;          // RMS norm over each head of q and k
  bool post_norms;       // RMS norms after attention and after feed-forward
};

struct ArchSpec {
  const char* gguf_arch;                   // llama
  absl::Span<const char* const> hf_names;  // LlamaForCausalLM, ...
  absl::Span<const TensorRule> rules;
  BlockTraits traits;
  // Adds the family's own keys (beyond those all share) to GGUF metadata.
  // nullptr: none.
  void (*add_metadata)(const ModelConfig& config, Metadata* metadata);
};

absl::Span<const ArchSpec* const> AllArchs();
// nullptr if unknown.
const ArchSpec* FindArchByHfName(absl::string_view hf_name);
const ArchSpec* FindArchByGgufName(absl::string_view gguf_arch);
// "Gemma2ForCausalLM, Gemma3ForCausalLM, …", for messages.
std::string KnownArchNames();

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_ARCH_SPEC_H_
