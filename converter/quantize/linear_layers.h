// Which tensors of a checkpoint are the weights of linear layers, and why the
// others are not.
//
//   ASSIGN_OR_RETURN(LinearLayers found, FindLinearLayers(input));
//   found.layers[i].name; found.layers[i].dense_reason;
//
// Of a known family the layers are those that its forward pass multiplies
// with. Of any other: every matrix "*.weight" of floating point numbers whose
// name has no part of those that stand for something else (kOtherParts and
// kHeadParts in the source). Pure.

#ifndef NARROW_CONVERTER_QUANTIZE_LINEAR_LAYERS_H_
#define NARROW_CONVERTER_QUANTIZE_LINEAR_LAYERS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/quantize/model_input.h"
#include "formats/arch/linear_groups.h"
#include "formats/tensor.h"

namespace narrow {

struct LinearLayer {
  const TensorView* view;  // of the source
  std::string module;      // its name without ".weight"
  // Why it stays dense whatever the recipe says; "": it need not.
  std::string dense_reason;
  // Into LinearLayers::known; -1 if the family is unknown.
  int known = -1;
  // Layers that clients fuse have the same number; -1: fused with none.
  int siblings = -1;
};

struct LinearLayers {
  std::vector<LinearLayer> layers;  // in the order of the source
  std::vector<ModelLinear> known;
  // Output layers that clients have and no tensor shows, since they share the
  // embedding; to be named among what stays dense, since clients that are
  // given names leave nothing else alone.
  std::vector<std::string> tied_heads;
};

absl::StatusOr<LinearLayers> FindLinearLayers(const ModelInput& input);

// Whether a matrix of that name is looked up, normalises or is convolved, so
// that clients never take it for a linear layer.
bool IsLookedUp(absl::string_view module);

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string ModuleOf(absl::string_view tensor);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_LINEAR_LAYERS_H_
