// Where everything of a packed output lies: the tensors of its files in
// order, the shards, and their sizes to the byte.
//
//   RETURN_IF_ERROR(LayOutTensors(input, max_shard_bytes, &plan));

#ifndef NARROW_CONVERTER_QUANTIZE_OUTPUT_LAYOUT_H_
#define NARROW_CONVERTER_QUANTIZE_OUTPUT_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"

namespace narrow {

// Puts tensors whose bytes are no multiple of 8 last, so that each begins at
// a multiple of its element; the others keep their order.
void AlignTensors(std::vector<OutputTensor>* tensors);

// Fills in the planes of plan->layers, plan->tensors, shards and all sizes,
// of layers that are chosen. InvalidArgument: a header beyond what the format
// allows.
absl::Status LayOutTensors(const ModelInput& input, int64_t max_shard_bytes,
                           QuantizePlan* plan);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_OUTPUT_LAYOUT_H_
