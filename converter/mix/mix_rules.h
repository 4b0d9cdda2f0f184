// Which tensor type a file type gives each tensor: llama-quantize's rules as
// one table.
//
//   MixState state(FileType::kQ4_K_M, model_facts);
//   for (each tensor in llama-quantize's order)
//     MixChoice c = state.Choose(meta, role);
//
// A MixState counts tensors as it goes, as llama-quantize does: the choice
// for a tensor may depend on how many of its kind came before. Tensors that
// an override names must not be shown to it.

#ifndef NARROW_CONVERTER_MIX_MIX_RULES_H_
#define NARROW_CONVERTER_MIX_MIX_RULES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/mix/file_type.h"
#include "converter/mix/tensor_role.h"
#include "formats/tensor.h"

namespace narrow {

// What the rules know of the model.
struct MixModel {
  std::string arch;  // general.architecture
  int64_t n_layers = 0;
  int64_t n_heads = 1;     // of layer 0
  int64_t n_kv_heads = 1;  // of layer 0
  int64_t n_experts = 0;
  int64_t n_attention_v = 0;    // tensors for which IsAttentionV(role)
  bool tied_embeddings = true;  // no output.weight
  bool has_importance = false;
};

struct MixChoice {
  QuantType type;
  const char* reason;  // of the last rule that changed the type; a constant
  QuantType wanted;    // what rows of whole blocks would have got
};

// What one rule's condition may look at.
struct MixContext {
  const MixModel* model;
  int64_t position;   // of the tensor among its kind, or its layer number
  int64_t n_of_kind;  // their number
  int64_t n_cols;
  bool stacked;  // more than one matrix: experts
  TensorRole role;
  QuantType current;  // type chosen so far
};

class MixState {
 public:
  MixState(FileType file_type, const MixModel& model)
      : file_type_(file_type), model_(model) {}

  const MixModel& model() const { return model_; }

  // InvalidArgument for an expert tensor whose name has no layer number, or
  // one outside the model.
  absl::StatusOr<MixChoice> Choose(const TensorMeta& meta, TensorRole role);

 private:
  const FileType file_type_;
  const MixModel model_;
  int64_t n_attention_v_seen_ = 0;
  int64_t n_ffn_seen_[3] = {0, 0, 0};  // up, gate, down
};

// A type that fits rows of `n_cols` where `type` does not: a relative with
// blocks of 32, or f16 if 32 does not divide the row either. Returns `type`
// itself if it fits; nullopt if none is defined under `file_type`.
std::optional<QuantType> FallbackType(FileType file_type, QuantType type,
                                      int64_t n_cols);

// Whether a tensor in this role may become `type` under `file_type` only with
// an importance matrix: since ggml's encoder needs it, or by llama-quantize's
// judgement.
bool DemandsImportance(FileType file_type, QuantType type, TensorRole role);

// Every tensor type that the rules can give under `file_type`, fall-backs
// included; without repeats.
std::vector<QuantType> PossibleTypes(FileType file_type);
// File types whose every possible type has a codec in this build.
std::vector<FileType> OfferedFileTypes();

}  // namespace narrow

#endif  // NARROW_CONVERTER_MIX_MIX_RULES_H_
