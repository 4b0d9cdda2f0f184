// The keys of an output: the model's, what the conversion adds, and what
// --override-kv asks for.
//
//   ASSIGN_OR_RETURN(Metadata metadata,
//                    OutputMetadata(*model, recipe, importance));
//   OverrideFacts(recipe, metadata, &facts);
//
// Pure functions.

#ifndef NARROW_CONVERTER_GGUF_OUTPUT_METADATA_H_
#define NARROW_CONVERTER_GGUF_OUTPUT_METADATA_H_

#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/mix/mix_rules.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"
#include "formats/metadata.h"

namespace narrow {

// In llama-quantize's order, all layers still counted; with
// recipe.keep_order in the input's order, nothing added. `importance` may be
// null. InvalidArgument for an override that does not fit its key, or one of
// general.architecture to a family whose keys are not there.
absl::StatusOr<Metadata> OutputMetadata(const Checkpoint& model,
                                        const Recipe& recipe,
                                        const ImportanceMatrix* importance);

// llama-quantize's rules see the model as the overrides describe it.
// `metadata` has them applied.
void OverrideFacts(const Recipe& recipe, const Metadata& metadata,
                   MixModel* facts);

}  // namespace narrow

#endif  // NARROW_CONVERTER_GGUF_OUTPUT_METADATA_H_
