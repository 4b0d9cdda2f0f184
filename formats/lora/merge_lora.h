// A model with an adapter merged in, row by row as it is read.
//
//   ASSIGN_OR_RETURN(auto source, OpenSafetensorsFolder(model));
//   ASSIGN_OR_RETURN(auto merged, MergeLora(std::move(source), adapter));
//   merged->Find("model.layers.0.self_attn.q_proj.weight")->rows->ReadRows(…)
//
// The arithmetic is PEFT's merge_and_unload, with sums in a fixed order:
//   delta[i][j] = scaling * sum over k of B[i][k] * A[k][j], k upwards
//   row[i] = W[i] + delta[i]
// all in float32, then rounded to the type in which the model has W; with
// DoRA the row is first multiplied by magnitude[i] / |W[i] + delta[i]|, whose
// length is summed in double. PyTorch sums in another order, so that values
// may differ from it in the last bit before that rounding.
//
// Merged tensors are shown as kF32 with `rows` (vectors too: one row); all
// others are the inner source's. Nothing is read but headers, so that merging
// streams. Immutable; safe to share.

#ifndef NARROW_FORMATS_LORA_MERGE_LORA_H_
#define NARROW_FORMATS_LORA_MERGE_LORA_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/tensor.h"

namespace narrow {

class MergedSource : public TensorSource {
 public:
  // The type of the model's own tensor, in which merged rows are exact;
  // meta.type of tensors that are not merged. REQUIRES: there is one.
  virtual QuantType stored_type(absl::string_view name) const = 0;
};

// `inner` has the model's tensors under Hugging Face names, decoded if they
// were packed. Errors of LoraAdapter::Open; NotFound for a module or tensor
// that the model has not, with the nearest; InvalidArgument for shapes that do
// not fit, with both.
absl::StatusOr<std::unique_ptr<MergedSource>> MergeLora(
    std::unique_ptr<TensorSource> inner, absl::string_view adapter_folder);

}  // namespace narrow

#endif  // NARROW_FORMATS_LORA_MERGE_LORA_H_
