// What runners of any device have in common.
//
//   ASSIGN_OR_RETURN(ModelTensors tensors, FindRunnableTensors(*model));
//   RETURN_IF_ERROR(EmbedTokens(&context, tensors, ids, n, &hidden));

#ifndef NARROW_CALIBRATION_RUNNER_PARTS_H_
#define NARROW_CALIBRATION_RUNNER_PARTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/rope_table.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// The errors of ModelRunner::Create.
absl::StatusOr<ModelTensors> FindRunnableTensors(const Checkpoint& model);

// As ModelRunner's, of these tensors.
absl::Status EmbedTokens(ForwardContext* context, const ModelTensors& tensors,
                         absl::Span<const int32_t> ids, int64_t window_tokens,
                         HiddenStates* hidden);
BlockSites SitesOf(const BlockTensors& tensors);
ModelRunner::InnerCols InnerColsOf(const BlockTensors& tensors);
void NormFinally(ForwardContext* context, const ModelTensors& tensors,
                 HiddenStates* hidden);
absl::Status CheckTargets(const WeightRows& output, const int32_t* targets,
                          int64_t n_rows);
absl::Status LogitsNotFinite(const Checkpoint& model, const WeightRows& output,
                             int64_t row);

// The angles of windows of one length.
struct RopeTables {
  RopeTable global, local;  // of all layers, and of those with a window

  // The length may choose among divisors, so tables are of exactly one.
  absl::Status Prepare(const ModelConfig& config, int64_t window_tokens);
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_RUNNER_PARTS_H_
