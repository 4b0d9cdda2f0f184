// A PEFT directory's tensors, put together by the module they change.
//
//   ASSIGN_OR_RETURN(auto adapter, LoraAdapter::Open(folder));
//   for (const LoraModule& m : adapter->modules()) ... m.b, m.a ...
//
// Names as PEFT writes them, each with "base_model.model." in front:
//   <module>.lora_A.weight            [rank, inputs]
//   <module>.lora_B.weight            [outputs, rank]
//   <module>.lora_B.bias              [outputs]
//   <module>.lora_magnitude_vector    [outputs], of DoRA
//   <module>.lora_embedding_A         [rank, tokens]
//   <module>.lora_embedding_B         [dimensions, rank]
//   any other name                    takes the place of the model's tensor
// "default", the adapter's name, may stand before "weight", as in a state
// that was saved by hand. Immutable; safe to share.

#ifndef NARROW_FORMATS_LORA_LORA_ADAPTER_H_
#define NARROW_FORMATS_LORA_LORA_ADAPTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/lora/lora_config.h"
#include "formats/tensor.h"

namespace narrow {

struct LoraModule {
  std::string name;  // without "base_model.model."
  bool is_embedding = false;
  const TensorView* a = nullptr;
  const TensorView* b = nullptr;
  const TensorView* b_bias = nullptr;     // may be null
  const TensorView* magnitude = nullptr;  // may be null
  LoraStrength strength{};
};

// A whole tensor of the model that was trained and saved (modules_to_save,
// bias).
struct LoraReplacement {
  std::string name;  // of the model's tensor
  const TensorView* tensor = nullptr;
};

class LoraAdapter {
 public:
  // Errors of LoraConfig::Read and of the safetensors reader; DataLoss for a
  // pair of which one is missing, tensors that are no matrices, or a rank that
  // is not the configuration's; Unimplemented for adapter_model.bin and for
  // tensors that we do not know.
  static absl::StatusOr<std::unique_ptr<const LoraAdapter>> Open(
      absl::string_view folder);

  const LoraConfig& config() const { return config_; }
  const std::vector<LoraModule>& modules() const { return modules_; }
  const std::vector<LoraReplacement>& replacements() const {
    return replacements_;
  }

 private:
  LoraAdapter() = default;
  absl::Status Sort();
  absl::Status SortOne(const TensorView& view);
  absl::Status CheckModule(LoraModule* module) const;
  LoraModule* ModuleOf(absl::string_view name);

  LoraConfig config_;
  std::unique_ptr<TensorSource> source_;
  std::vector<LoraModule> modules_;
  std::vector<LoraReplacement> replacements_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_LORA_LORA_ADAPTER_H_
