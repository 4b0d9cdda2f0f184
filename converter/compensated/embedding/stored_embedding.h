// A model whose token embedding is the one that a file will hold, so that the
// blocks of a quantized model see what it will begin with:
//
//   const std::unique_ptr<Checkpoint> stored =
//       WithStoredEmbedding(model, FindEmbedding(plan), nullptr);
//   options.embedding = stored.get();  // calibration/blockwise
//
// Rows are encoded and decoded when they are read, as a text has few of them,
// or are those that were solved. The checkpoint, plan, importance and solved
// rows must outlive it. Safe from any thread.

#ifndef NARROW_CONVERTER_COMPENSATED_EMBEDDING_STORED_EMBEDDING_H_
#define NARROW_CONVERTER_COMPENSATED_EMBEDDING_STORED_EMBEDDING_H_

#include <memory>

#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// The token embedding among the plan's tensors, where its numbers change;
// nullptr: it is copied, widened, or divided by a scale that takes a pass over
// all of it (NVFP4), of which nothing is known here.
const PlannedTensor* FindEmbedding(const Plan& plan);

// nullptr for nullptr. `solved`: the file's rows; nullptr: those of the codec's
// encoder.
std::unique_ptr<Checkpoint> WithStoredEmbedding(const Checkpoint& model,
                                                const PlannedTensor* planned,
                                                const EncodedRows* solved);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_EMBEDDING_STORED_EMBEDDING_H_
