#include "calibration/rope_table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Kind = RopeScaling::Kind;

// The pair that turns `n_turns` times within the original context.
double PairOfTurns(const ModelConfig& config, double n_turns) {
  const double context =
      static_cast<double>(config.rope_scaling.original_context);
  return static_cast<double>(config.rope_dim) *
         Log(context / (n_turns * 2 * M_PI)) / (2 * Log(config.rope_theta));
}

// Divisors of yarn: 1 for pairs that turn more than beta_fast times, the
// factor for those that turn less than beta_slow times, a linear blend of the
// frequencies between.
std::vector<double> YarnDivisors(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  double low = PairOfTurns(config, scaling.beta_fast);
  double high = PairOfTurns(config, scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.rope_dim - 1));
  if (low == high) {
    high += 0.001;
  }
  std::vector<double> divisors;
  for (int64_t i = 0; i < config.rope_dim / 2; ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    divisors.push_back(1 / (ramp / scaling.factor + (1 - ramp)));
  }
  return divisors;
}

absl::StatusOr<std::vector<double>> Divisors(const ModelConfig& config,
                                             int64_t n_tokens) {
  const RopeScaling& scaling = config.rope_scaling;
  const std::vector<float>* list = nullptr;
  switch (scaling.kind) {
    case Kind::kNone:
    case Kind::kDynamic:  // the base is stretched
      return std::vector<double>(config.rope_dim / 2, 1.0);
    case Kind::kLinear:
      return std::vector<double>(config.rope_dim / 2, scaling.factor);
    case Kind::kYarn:
      if (scaling.original_context <= 0) {
        return absl::InvalidArgumentError(
            "yarn without the original context length");
      }
      return YarnDivisors(config);
    case Kind::kLlama3:
      list = &scaling.freq_factors;
      break;
    case Kind::kLongRope:
      list = n_tokens > scaling.original_context ? &scaling.long_factors
                                                 : &scaling.short_factors;
      break;
  }
  if (static_cast<int64_t>(list->size()) != config.rope_dim / 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rotary divisors: there are ", list->size(), ", ", config.rope_dim,
        " rotated dimensions need ", config.rope_dim / 2));
  }
  return std::vector<double>(list->begin(), list->end());
}

// The base of the angles that the scaling applies to.
double StretchedBase(const ModelConfig& config, int64_t n_tokens) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind != Kind::kDynamic || n_tokens <= scaling.original_context) {
    return config.rope_theta;
  }
  const double length = static_cast<double>(n_tokens) /
                        static_cast<double>(scaling.original_context);
  const double dim = static_cast<double>(config.rope_dim);
  return config.rope_theta *
         Pow(scaling.factor * length - (scaling.factor - 1), dim / (dim - 2));
}

}  // namespace

absl::StatusOr<RopeTable> MakeRopeTable(const ModelConfig& config, bool local,
                                        int64_t n_tokens) {
  const bool own_base = local && config.rope_theta_local.has_value();
  std::vector<double> divisors(config.rope_dim / 2, 1.0);
  if (!own_base) {
    ASSIGN_OR_RETURN(divisors, Divisors(config, n_tokens));
  }
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (!(divisors[i] > 0) || !std::isfinite(divisors[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "rotary divisor ", i, " is ", divisors[i], ", not positive"));
    }
  }
  const double theta =
      own_base ? *config.rope_theta_local : StretchedBase(config, n_tokens);
  const double scale = own_base ? 1.0 : config.rope_scaling.attention_factor;

  RopeTable table;
  table.n_tokens = n_tokens;
  table.n_pairs = config.rope_dim / 2;
  table.cosines.resize(static_cast<size_t>(n_tokens * table.n_pairs));
  table.sines.resize(table.cosines.size());
  for (int64_t i = 0; i < table.n_pairs; ++i) {
    const double frequency =
        Pow(theta, -2.0 * static_cast<double>(i) /
                       static_cast<double>(config.rope_dim)) /
        divisors[static_cast<size_t>(i)];
    for (int64_t p = 0; p < n_tokens; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      const size_t at = static_cast<size_t>(p * table.n_pairs + i);
      double sine, cosine;
      SinCos(angle, &sine, &cosine);
      table.cosines[at] = static_cast<float>(scale * cosine);
      table.sines[at] = static_cast<float>(scale * sine);
    }
  }
  return table;
}

}  // namespace narrow
