// Tested by: observe_request_test.

#include "calibration/blockwise/stats/token_use.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"

namespace narrow {

absl::Status CheckTokenWeights(const TokenWeights& weights,
                               const std::vector<uint8_t>& counts,
                               int64_t sample_tokens) {
  for (const auto& [name, values] : weights.layers) {
    if (values == nullptr) {
      continue;
    }
    if (values->size() != counts.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the layer ", name, " has ", values->size(), " token weights, the ",
          static_cast<int64_t>(counts.size()) / sample_tokens, " samples have ",
          counts.size(), " tokens"));
    }
    double sum = 0;
    for (size_t i = 0; i < values->size(); ++i) {
      const float weight = (*values)[i];
      if (!std::isfinite(weight) || weight < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the weight of token ", i % sample_tokens, " of sample ",
            i / sample_tokens, " for ", name, " is ", weight));
      }
      sum += counts[i] != 0 ? static_cast<double>(weight) : 0;
    }
    if (sum == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("all tokens that count have weight 0 for ", name));
    }
  }
  for (const auto& [key, values] : weights.experts) {
    if (values == nullptr) {
      continue;
    }
    const std::vector<int64_t>& tokens = values->tokens;
    const TokenWeights::Values& of_tokens = values->weights;
    if (tokens.size() != of_tokens.size() ||
        std::adjacent_find(tokens.begin(), tokens.end(),
                           std::greater_equal<int64_t>()) != tokens.end() ||
        !std::all_of(of_tokens.begin(), of_tokens.end(), [](float weight) {
          return std::isfinite(weight) && weight >= 0;
        })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the weights of expert ", key.second, " of ", key.first, " are for ",
          tokens.size(), " tokens and ", of_tokens.size(),
          ": they must be one a token, tokens rising, finite and not "
          "negative"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenUse>> UsesOfTokens(
    const ObserveRequest& request, const std::vector<uint8_t>& counts,
    int64_t sample_tokens) {
  std::vector<TokenUse> uses(counts.size());
  std::vector<size_t> held_out;
  const int64_t every = request.held_out_every;
  bool any = false;
  for (size_t i = 0; i < counts.size(); ++i) {
    const int64_t sample = static_cast<int64_t>(i) / sample_tokens;
    if (counts[i] == 0) {
      continue;
    }
    if (every > 0 && sample % every == every - 1) {
      held_out.push_back(i);
    } else {
      uses[i] = TokenUse::kSummed;
      any = true;
    }
  }
  if (!any) {
    return absl::InvalidArgumentError(
        absl::StrCat("of ", static_cast<int64_t>(counts.size()) / sample_tokens,
                     " calibration samples one of ", every,
                     " is held out, and no other has tokens that count"));
  }
  const size_t n_all = held_out.size();
  const size_t n_kept = std::min(
      n_all, static_cast<size_t>(std::max<int64_t>(0, request.held_out_rows)));
  for (size_t k = 0; k < n_kept; ++k) {
    uses[held_out[k * n_all / n_kept]] = TokenUse::kHeldOut;
  }
  return uses;
}

}  // namespace narrow
