// Which tokens are summed and which are held out, and what they count.
//
//   RETURN_IF_ERROR(CheckTokenWeights(weights, counts, sample_tokens));
//   ASSIGN_OR_RETURN(auto uses, UsesOfTokens(request, counts, sample_tokens));
//
// Pure functions. `counts` are CalibrationSamples'.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_TOKEN_USE_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_TOKEN_USE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/token_weights.h"

namespace narrow {

// What becomes of a token's rows.
enum class TokenUse : uint8_t { kNone, kSummed, kHeldOut };

// InvalidArgument names the layer whose weights are not what TokenWeights
// says, or are all 0 where tokens count.
absl::Status CheckTokenWeights(const TokenWeights& weights,
                               const std::vector<uint8_t>& counts,
                               int64_t sample_tokens);

// One a token of all samples. InvalidArgument if none is left for the sums.
absl::StatusOr<std::vector<TokenUse>> UsesOfTokens(
    const ObserveRequest& request, const std::vector<uint8_t>& counts,
    int64_t sample_tokens);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATS_TOKEN_USE_H_
