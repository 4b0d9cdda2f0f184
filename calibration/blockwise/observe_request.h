// What to gather of a block, or of a part of it.
//
//   ObserveRequest request;
//   request.needs.gram = request.needs.cross = true;
//   request.layers = calibrator->SitesOfBlock()[1];
//   request.held_out_every = 8;
//   ASSIGN_OR_RETURN(BlockStats stats, calibrator->Observe(request, {}));
//
// Plain values.

#ifndef NARROW_CALIBRATION_BLOCKWISE_OBSERVE_REQUEST_H_
#define NARROW_CALIBRATION_BLOCKWISE_OBSERVE_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/token_weights.h"

namespace narrow {

struct ObserveRequest {
  StatsNeeds needs;
  // GGUF names of the layers asked for; empty: all of the block. What is
  // computed after the last of them is not run.
  std::vector<std::string> layers;
  // What tokens count; nullptr: 1. Must outlive the call.
  const TokenWeights* weights = nullptr;
  // The last of every so many samples is left out of the sums; of the tokens
  // of these that count, held_out_rows at most, evenly spread, are kept as
  // LayerStats::held_out. 0: all samples are summed.
  int64_t held_out_every = 0;
  int64_t held_out_rows = 1024;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_OBSERVE_REQUEST_H_
