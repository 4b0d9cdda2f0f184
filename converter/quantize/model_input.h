// A Hugging Face directory as `narrow quantize` reads it: its configuration,
// its family if we know it, and its tensors under their own names.
//
//   ASSIGN_OR_RETURN(auto input, OpenModelInput("models/bert", {}));
//   input->source->tensors(); input->arch;      // nullptr: unknown family
//
// Immutable; safe to share between threads.

#ifndef NARROW_CONVERTER_QUANTIZE_MODEL_INPUT_H_
#define NARROW_CONVERTER_QUANTIZE_MODEL_INPUT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/model_config.h"
#include "formats/hf/hf_config.h"
#include "formats/json/json.h"
#include "formats/lora/merge_lora.h"
#include "formats/packing/packing.h"
#include "formats/quant_type.h"
#include "formats/tensor.h"

namespace narrow {

struct ModelInputOptions {
  // Decode a model that is quantized; otherwise it is refused.
  bool decode_quantized = false;
  // A PEFT adapter to merge; empty: none.
  std::string lora_folder;
};

struct ModelInput {
  std::string folder;
  std::string config_text;  // config.json as it is
  std::unique_ptr<const JsonDocument> config_json;
  // Of a known family; otherwise nullptr, and `config` means nothing.
  const ArchSpec* arch = nullptr;
  std::unique_ptr<const HfConfig> hf;
  ModelConfig config;
  std::string model_type;
  std::unique_ptr<TensorSource> source;
  // The type that most weights have: kBF16, kF16 or kF32. Decoded and merged
  // matrices are written in it.
  QuantType dtype = QuantType::kBF16;
  bool was_quantized = false;
  // Of the source, where an adapter is merged; otherwise nullptr.
  const MergedSource* merged = nullptr;
  // Of a quantized model: its packing and its layers, by name.
  const Packing* packing = nullptr;
  std::vector<PackedModule> packed;

  // The type in which the output has a tensor of `source` that is not packed:
  // its own, or where it is decoded or merged, the one that it had.
  QuantType StoredType(const TensorView& view) const;
};

// InvalidArgument: no directory of safetensors; a quantized one without
// decode_quantized.
absl::StatusOr<std::unique_ptr<const ModelInput>> OpenModelInput(
    absl::string_view folder, const ModelInputOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_MODEL_INPUT_H_
