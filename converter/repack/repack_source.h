// What a directory of packed layers is made of: a model whose tensors have the
// names of a checkpoint, and the codes of those that are packed.
//
//   source->input().packed[i];            // layer i
//   ASSIGN_OR_RETURN(QuantizedMatrix m, source->ReadLayer(i));
//
// Safe from any thread.

#ifndef NARROW_CONVERTER_REPACK_REPACK_SOURCE_H_
#define NARROW_CONVERTER_REPACK_REPACK_SOURCE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/quantize/model_input.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/tensor.h"

namespace narrow {

class RepackSource {
 public:
  virtual ~RepackSource() = default;

  // A packing's name, or "gguf".
  virtual absl::string_view from() const = 0;
  // `packed` lists the layers; their planes and packing may be null.
  virtual const ModelInput& input() const = 0;
  // A layer of input().packed, all of it, which will not be needed again.
  virtual absl::StatusOr<QuantizedMatrix> ReadLayer(int layer) const = 0;
  // The type in which the output has a tensor that is not packed.
  virtual QuantType DenseType(const TensorView& view) const = 0;
  // Tokenizer, model card ... into the output. Called last.
  virtual absl::Status WriteSideFiles(absl::string_view folder,
                                      absl::string_view to) const = 0;
  // What is not as the output's reader may expect; complete when all layers
  // have been read.
  virtual std::vector<std::string> Notes() const = 0;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REPACK_SOURCE_H_
