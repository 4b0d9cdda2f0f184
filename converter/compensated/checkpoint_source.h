// Matrices of a checkpoint in GGUF's convention as a source of tensors, so
// that an overlay can replace them by what a GGUF file will hold:
//
//   auto overlay = std::make_unique<OverlaySource>(
//       std::make_unique<CheckpointSource>(&model, names), names);
//   OverlaySource* slots = overlay.get();
//   auto shown = Checkpoint::WithRows(model, std::move(overlay));
//   ... a ModelRunner over *shown computes what one over `model` does ...
//   slots->Replace("blk.0.ffn_up.weight", values);
//
// Rows are those of ReadRows (calibration/weights/weights.h). Immutable, safe
// from any thread; the checkpoint must outlive it.

#ifndef NARROW_CONVERTER_COMPENSATED_CHECKPOINT_SOURCE_H_
#define NARROW_CONVERTER_COMPENSATED_CHECKPOINT_SOURCE_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "formats/arch/checkpoint.h"
#include "formats/tensor.h"

namespace narrow {

class CheckpointSource : public TensorSource {
 public:
  // The tensors of `names` that the model has, in its order.
  CheckpointSource(const Checkpoint* model,
                   const std::vector<std::string>& names);
  ~CheckpointSource() override;

  absl::Span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* Find(absl::string_view name) const override;
  const Metadata& metadata() const override { return model_.metadata(); }
  absl::string_view format() const override { return "gguf"; }
  // The rows have no memory of their own.
  void Release(absl::Span<const uint8_t> range) const override;

 private:
  class Rows;

  const Checkpoint& model_;
  std::vector<std::unique_ptr<Rows>> rows_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_CHECKPOINT_SOURCE_H_
