// The scale tensors of NVFP4: one float32 a matrix, by which llama.cpp
// multiplies the product with it.
//
//   TensorMeta scale = ScaleFor(model, name, meta, role);
//   float s = ScaleOf(absmax);                        // weights / s are stored
//
// NVFP4's scales of 16 weights are unsigned floats of 8 bits, from 2^-9 in
// steps of 2^-9 to 448. Weights of language models are so small that their
// scales would be among the first steps, so the tensor as a whole is
// stretched until its largest weight meets the largest scale.

#ifndef NARROW_CONVERTER_TENSOR_SCALE_H_
#define NARROW_CONVERTER_TENSOR_SCALE_H_

#include "absl/strings/string_view.h"
#include "converter/mix/tensor_role.h"
#include "formats/arch/checkpoint.h"
#include "formats/tensor.h"

namespace narrow {

// The scale tensor for the tensor `source_name` of `model` that will be
// written as `meta`, or one without a name: for other types than NVFP4, for
// roles in which llama.cpp would not apply it (the weights are then stored as
// they are), and where the model has a tensor of that name already.
TensorMeta ScaleFor(const Checkpoint& model, absl::string_view source_name,
                    const TensorMeta& meta, TensorRole role);

// The scale of a matrix whose largest absolute weight is `absmax`.
float ScaleOf(float absmax);

}  // namespace narrow

#endif  // NARROW_CONVERTER_TENSOR_SCALE_H_
