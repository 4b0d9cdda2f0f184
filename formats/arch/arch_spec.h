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
#include "formats/hf/hf_config.h"
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
  kAddOne,        // Gemma's norms: GGUF stores 1 + w
  kStackExperts,  // one matrix an expert -> [n_experts, rows, cols]
  // [n_experts, 2 * rows, cols], gate rows first in each expert -> one half
  kGateHalf,
  kUpHalf,
};

// The sizes a tensor must have, as ModelConfig names them.
enum class TensorSize {
  kNone,  // ends the list
  kHidden,
  kQuery,  // n_heads * head_dim
  kKey,    // n_kv_heads * head_dim
  kQkv,    // query, key and value rows
  kHeadDim,
  kFfn,
  kTwoFfn,
  kExperts,
  kExpertFfn,
  kTwoExpertFfn,
  kVocab,
};

// When a checkpoint must have a tensor. If several rules give one GGUF name,
// one of them is enough.
enum class TensorPresence {
  kAlways,
  kOptional,
  kDenseLayers,    // layers without experts
  kExpertLayers,   // layers with experts
  kAttentionBias,  // config.json says attention_bias
  kMlpBias,        // config.json says mlp_bias
  kUntied,         // unless config.json says tie_word_embeddings
};

// Of several rules for one GGUF name the first is used on the way back, from
// GGUF to a checkpoint.
struct TensorRule {
  // "{}" stands for the layer, a second "{}" for the expert.
  const char* hf_name;
  // nullptr: the tensor is left out.
  const char* gguf_name;
  TensorTransform transform;
  TensorPresence presence;
  // Of one stored tensor (one expert under kStackExperts), outermost first.
  TensorSize shape[3];
};

// How a block computes; everything a forward pass must know of a family that
// ModelConfig's numbers do not say.
struct BlockTraits {
  enum class Rope { kInterleaved, kHalves };  // pairs (2i, 2i+1) | (i, i+d/2)
  enum class Activation { kSilu, kGeluTanh };
  Rope rope;
  Activation activation;
  bool fused_qkv;      // attn_qkv holds q, k, v rows in turn
  bool fused_gate_up;  // ffn_up holds gate rows, then up rows
  bool qk_norm;        // RMS norm over each head of q and k
  bool post_norms;     // RMS norms after attention and after feed-forward
};

// Lets a family add to GGUF metadata what only it knows.
struct MetadataInputs {
  const HfConfig& hf;
  const ModelConfig& config;
  int32_t file_type;  // general.file_type
};

struct ArchSpec {
  const char* gguf_arch;                   // llama
  absl::Span<const char* const> hf_names;  // LlamaForCausalLM, ...
  absl::Span<const TensorRule> rules;
  BlockTraits traits;
  // Adds the keys "<gguf_arch>.*" and general.file_type, in the order in which
  // llama.cpp's converter writes them.
  absl::Status (*add_metadata)(const MetadataInputs& inputs,
                               Metadata* metadata);
  // The same for keys that come before general.type. nullptr: none.
  absl::Status (*add_leading_metadata)(const MetadataInputs& inputs,
                                       Metadata* metadata);
};

absl::Span<const ArchSpec* const> AllArchs();
// nullptr if unknown.
const ArchSpec* FindArchByHfName(absl::string_view hf_name);
const ArchSpec* FindArchByGgufName(absl::string_view gguf_arch);
// "Gemma2ForCausalLM, Gemma3ForCausalLM, …", for messages.
std::string KnownArchNames();

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_ARCH_SPEC_H_
