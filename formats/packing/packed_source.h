// Shows the packed matrices of a quantized checkpoint as plain ones.
//
//   ASSIGN_OR_RETURN(auto source, OpenTensorSource(folder));
//   ASSIGN_OR_RETURN(auto packed, UnpackSource(std::move(source), config));
//   packed->source->Find("model.layers.0.mlp.up_proj.weight")->rows->ReadRows(…)
//
// Every packed module appears as one tensor "<module>.weight", [rows, cols],
// kF32, without data but with `rows`; its planes disappear; all other tensors
// are the inner source's. Rows are decoded when asked for, so opening reads
// nothing but headers.

#ifndef NARROW_FORMATS_PACKING_PACKED_SOURCE_H_
#define NARROW_FORMATS_PACKING_PACKED_SOURCE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/json/json.h"
#include "formats/packing/packing.h"
#include "formats/tensor.h"

namespace narrow {

struct UnpackedSource {
  std::unique_ptr<TensorSource> source;
  const Packing* packing = nullptr;
  // By name; planes point into the inner source, which `source` owns.
  std::vector<PackedModule> modules;
};

// `config` is config.json's "quantization_config". Unimplemented names the
// quant_method that no packing recognises; errors of Packing::find.
absl::StatusOr<UnpackedSource> UnpackSource(std::unique_ptr<TensorSource> inner,
                                            const JsonValue& config);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_PACKED_SOURCE_H_
