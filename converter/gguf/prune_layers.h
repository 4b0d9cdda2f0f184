// A model without some of its layers: --prune-layers.
//
//   ASSIGN_OR_RETURN(std::vector<int64_t> layers, ParseLayerList("3,5-7"));
//   ASSIGN_OR_RETURN(LayerPruning pruning,
//                    LayerPruning::Create(layers, names));
//   pruning.NewName("blk.4.attn_q.weight");   // "blk.3.attn_q.weight"
//   pruning.NewName("blk.3.attn_q.weight");   // "": dropped
//   pruning.PruneMetadata(&metadata);
//
// Layers that stay are numbered anew, in their order, and <arch>.block_count
// is their number, at the end of the keys: so llama-quantize does it. Beyond
// it, lists with one value a layer lose the values of the dropped layers, and
// counts of special layers at either end what was dropped of them; without
// that, the model would not load, or compute with other layers' values.
//
// Plain values.

#ifndef NARROW_CONVERTER_GGUF_PRUNE_LAYERS_H_
#define NARROW_CONVERTER_GGUF_PRUNE_LAYERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"

namespace narrow {

// Numbers and ranges, sorted and without repeats. InvalidArgument for
// anything else.
absl::StatusOr<std::vector<int64_t>> ParseLayerList(absl::string_view text);

class LayerPruning {
 public:
  // Nothing is dropped.
  LayerPruning() = default;

  // `names` are those of all tensors. InvalidArgument for a layer that is not
  // there, or if none would be left; Unimplemented for models of several
  // stacks of layers (encoder and decoder).
  static absl::StatusOr<LayerPruning> Create(
      absl::Span<const int64_t> layers, absl::Span<const std::string> names);

  // Empty for a tensor of a dropped layer.
  std::string NewName(absl::string_view name) const;

  void PruneMetadata(Metadata* metadata) const;

  // What changes besides, in words: layers of a family whose attention
  // window alternates, which their new numbers give another one.
  std::vector<std::string> Warnings(const Metadata& before) const;

 private:
  bool Drops(int64_t layer) const;
  void PruneLists(const std::string& arch, Metadata* metadata) const;

  std::vector<int64_t> dropped_;  // sorted
  int64_t n_layers_ = 0;          // before
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_GGUF_PRUNE_LAYERS_H_
