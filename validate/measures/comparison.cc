#include "validate/measures/comparison.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "absl/functional/function_ref.h"
#include "validate/estimate.h"
#include "validate/measures/bootstrap.h"
#include "validate/measures/quantile.h"

namespace narrow {
namespace {

using TokenValue = absl::FunctionRef<double(const TokenComparison&)>;

std::vector<double> ValuesOf(const PairedScores& scores, TokenValue value) {
  std::vector<double> values;
  values.reserve(scores.tokens.size());
  for (const TokenComparison& token : scores.tokens) {
    values.push_back(value(token));
  }
  return values;
}

Figure MeanFigure(const PairedScores& scores, TokenValue value) {
  const std::vector<double> values = ValuesOf(scores, value);
  const Estimate mean = MeanOf(values);
  Figure figure;
  figure.value = mean.value;
  figure.error = mean.error;
  figure.window_error = BlockError(values, scores.window_sizes);
  return figure;
}

// f of a figure, whose derivative there is `slope`.
Figure Carried(double value, double slope, const Figure& from) {
  Figure figure;
  figure.value = value;
  figure.error = std::abs(slope) * from.error;
  figure.window_error = std::abs(slope) * from.window_error;
  return figure;
}

Figure ExpFigure(const Figure& log_value) {
  const double value = std::exp(log_value.value);
  return Carried(value, value, log_value);
}

Quantiles QuantilesOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  Quantiles quantiles;
  for (size_t i = 0; i < quantiles.size(); ++i) {
    quantiles[i] = SortedQuantile(values, kQuantileShares[i]);
  }
  return quantiles;
}

// NaN where one of them does not vary.
double Correlation(const PairedScores& scores) {
  const double n = static_cast<double>(scores.tokens.size());
  double mean_p = 0;
  double mean_q = 0;
  for (const TokenComparison& token : scores.tokens) {
    mean_p += token.reference_nll / n;
    mean_q += token.candidate_nll / n;
  }
  double pp = 0;
  double qq = 0;
  double pq = 0;
  for (const TokenComparison& token : scores.tokens) {
    const double p = token.reference_nll - mean_p;
    const double q = token.candidate_nll - mean_q;
    pp += p * p;
    qq += q * q;
    pq += p * q;
  }
  return pq / std::sqrt(pp * qq);
}

double CandidateNll(const TokenComparison& token) {
  return token.candidate_nll;
}

double ReferenceNll(const TokenComparison& token) {
  return token.reference_nll;
}

void AddPerplexities(const PairedScores& scores, const Bootstrap& bootstrap,
                     Comparison* c) {
  c->perplexity = ExpFigure(MeanFigure(scores, CandidateNll));
  c->reference_perplexity = ExpFigure(MeanFigure(scores, ReferenceNll));
  c->log_correlation = Correlation(scores);
  c->log_ratio = MeanFigure(scores, [](const TokenComparison& token) {
    return token.candidate_nll - token.reference_nll;
  });
  c->ratio = ExpFigure(c->log_ratio);
  // To first order the difference of perplexities moves with
  // P_c * nll_c - P_r * nll_r.
  const double p_candidate = c->perplexity.value;
  const double p_reference = c->reference_perplexity.value;
  c->difference = MeanFigure(scores, [&](const TokenComparison& token) {
    return p_candidate * token.candidate_nll -
           p_reference * token.reference_nll;
  });
  c->difference.value = p_candidate - p_reference;

  const auto candidate = [](const WindowSums& s) {
    return std::exp(s.candidate_nll / s.n);
  };
  const auto reference = [](const WindowSums& s) {
    return std::exp(s.reference_nll / s.n);
  };
  const auto log_ratio = [](const WindowSums& s) {
    return (s.candidate_nll - s.reference_nll) / s.n;
  };
  bootstrap.Apply(candidate, &c->perplexity);
  bootstrap.Apply(reference, &c->reference_perplexity);
  bootstrap.Apply(log_ratio, &c->log_ratio);
  bootstrap.Apply([&](const WindowSums& s) { return std::exp(log_ratio(s)); },
                  &c->ratio);
  bootstrap.Apply(
      [&](const WindowSums& s) { return candidate(s) - reference(s); },
      &c->difference);
}

void AddDivergence(const PairedScores& scores, const Bootstrap& bootstrap,
                   Comparison* c) {
  const auto divergence = [](const TokenComparison& token) {
    return token.divergence;
  };
  c->divergence = MeanFigure(scores, divergence);
  c->divergence_quantiles = QuantilesOf(ValuesOf(scores, divergence));
  bootstrap.Apply([](const WindowSums& s) { return s.divergence / s.n; },
                  &c->divergence);
}

void AddDeltaP(const PairedScores& scores, const Bootstrap& bootstrap,
               Comparison* c) {
  c->delta_p = MeanFigure(scores, DeltaP);
  c->delta_p_quantiles = QuantilesOf(ValuesOf(scores, DeltaP));
  bootstrap.Apply([](const WindowSums& s) { return s.delta_p / s.n; },
                  &c->delta_p);
  const Figure square = MeanFigure(scores, [](const TokenComparison& token) {
    return DeltaP(token) * DeltaP(token);
  });
  const double rms = std::sqrt(square.value);
  // At zero the root has no slope; all squares are zero then, and so is the
  // error.
  c->rms_delta_p = Carried(rms, rms > 0 ? 0.5 / rms : 0, square);
  bootstrap.Apply(
      [](const WindowSums& s) { return std::sqrt(s.delta_p_squared / s.n); },
      &c->rms_delta_p);
}

void AddSameTop(const PairedScores& scores, const Bootstrap& bootstrap,
                Comparison* c) {
  // The error over tokens of a mean of zeros and ones is the binomial one.
  c->same_top = MeanFigure(scores, [](const TokenComparison& token) {
    return token.same_top ? 1.0 : 0.0;
  });
  bootstrap.Apply([](const WindowSums& s) { return s.same_top / s.n; },
                  &c->same_top);
}

}  // namespace

Comparison MakeComparison(const PairedScores& scores, uint64_t seed) {
  assert(!scores.tokens.empty());
  const Bootstrap bootstrap(SumWindows(scores), seed);
  Comparison comparison;
  comparison.n_windows = static_cast<int64_t>(scores.window_sizes.size());
  comparison.n_tokens = static_cast<int64_t>(scores.tokens.size());
  AddPerplexities(scores, bootstrap, &comparison);
  AddDivergence(scores, bootstrap, &comparison);
  AddDeltaP(scores, bootstrap, &comparison);
  AddSameTop(scores, bootstrap, &comparison);
  return comparison;
}

}  // namespace narrow
