// How many samples go through a block together.

#ifndef NARROW_CALIBRATION_BLOCKWISE_GROUP_SAMPLES_H_
#define NARROW_CALIBRATION_BLOCKWISE_GROUP_SAMPLES_H_

#include <cstdint>

#include "calibration/blockwise/store/hidden_store.h"
#include "formats/arch/model_config.h"

namespace narrow {

struct GroupLimits {
  int64_t fixed = 0;         // as asked for; 0: as many as are worthwhile
  int64_t hidden_bytes = 0;  // of all samples' hidden states in memory
  int64_t inner_cols = 0;    // of rows read or kept beside them; 0: none
  // The original model's inputs of the group are kept, to be compared.
  bool recorded = false;
};

// 1 ... shape.n_samples. No statistics depend on it.
int64_t SamplesOfGroup(const ModelConfig& config, const HiddenShape& shape,
                       const GroupLimits& limits);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_GROUP_SAMPLES_H_
