#include "validate/measures/divergence.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Chains of additions side by side, so that the sum is not bound by the
// latency of one; always as many, so that it is one sum.
constexpr int kChains = 16;

// sum of weights[i] * values[i].
double Dot(const float* weights, const float* values, int64_t n) {
  double sums[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int k = 0; k < kChains; ++k) {
      sums[k] += static_cast<double>(weights[i + k]) *
                 static_cast<double>(values[i + k]);
    }
  }
  for (int k = 0; i < n; ++i, ++k) {
    sums[k] += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
  }
  double total = 0;
  for (double sum : sums) {
    total += sum;
  }
  return total;
}

// A candidate's part of the formula, found while its logits are there.
struct CandidateTerms {
  float top = 0;
  double log_sum = 0;
};

CandidateTerms TermsOf(int64_t n_tokens, const float* candidate) {
  const RowKernels& rows = RowKernelsForCpu();
  CandidateTerms terms;
  terms.top = rows.max(candidate, n_tokens);
  terms.log_sum = std::log(rows.exp_sum(candidate, terms.top, n_tokens));
  return terms;
}

void Subtract(int64_t n_tokens, const float* reference, float* candidate) {
  for (int64_t i = 0; i < n_tokens; ++i) {
    candidate[i] = reference[i] - candidate[i];
  }
}

// log p - log q = (l_p - l_q) - (top_p + log sum_p) + (top_q + log sum_q).
double Divergence(int64_t n_tokens, const float* exps, const ExpSum& p,
                  const float* differences, const CandidateTerms& q) {
  const double mean_difference = Dot(exps, differences, n_tokens) / p.sum;
  const double divergence = mean_difference - p.top - std::log(p.sum) +
                            static_cast<double>(q.top) + q.log_sum;
  // !(x < 0) keeps a NaN.
  return divergence < 0 ? 0 : divergence;
}

}  // namespace

ExpSum ExpInPlace(int64_t n_tokens, float* logits) {
  const RowKernels& rows = RowKernelsForCpu();
  ExpSum terms;
  terms.top = rows.max(logits, n_tokens);
  terms.sum = rows.exp_in_place(terms.top, n_tokens, logits);
  return terms;
}

double DivergenceFrom(int64_t n_tokens, const float* reference,
                      const float* exps, const ExpSum& terms,
                      float* candidate) {
  const CandidateTerms q = TermsOf(n_tokens, candidate);
  Subtract(n_tokens, reference, candidate);
  return Divergence(n_tokens, exps, terms, candidate, q);
}

double DivergenceOfLogits(int64_t n_tokens, float* reference,
                          float* candidate) {
  const CandidateTerms q = TermsOf(n_tokens, candidate);
  Subtract(n_tokens, reference, candidate);
  const ExpSum terms = ExpInPlace(n_tokens, reference);
  return Divergence(n_tokens, reference, terms, candidate, q);
}

absl::Status AddDivergences(const DivergenceReference& reference,
                            int64_t first_row, const float* rows,
                            int64_t n_rows, ModelRunner* candidate,
                            std::vector<double>* divergences) {
  const int64_t n_vocab_p = reference.runner->vocab_size();
  const int64_t n_vocab_q = candidate->vocab_size();
  const int64_t n_common = std::min(n_vocab_p, n_vocab_q);
  const int64_t width = candidate->hidden_size();
  const int64_t reference_width = reference.runner->hidden_size();
  assert(static_cast<int64_t>(reference.rows->size()) >=
         (first_row + n_rows) * reference_width);
  const int64_t row_bytes =
      (n_vocab_p + n_vocab_q) * static_cast<int64_t>(sizeof(float));
  const int64_t slice = std::max<int64_t>(
      1, std::min(n_rows, reference.logits_bytes / row_bytes));
  std::vector<float> p(static_cast<size_t>(slice * n_vocab_p));
  std::vector<float> q(static_cast<size_t>(slice * n_vocab_q));
  for (int64_t first = 0; first < n_rows; first += slice) {
    const int64_t n = std::min(slice, n_rows - first);
    RETURN_IF_ERROR(reference.runner->Logits(
        reference.rows->data() + (first_row + first) * reference_width, n,
        p.data()));
    RETURN_IF_ERROR(candidate->Logits(rows + first * width, n, q.data()));
    const size_t done = divergences->size();
    divergences->resize(done + static_cast<size_t>(n));
    reference.pool->ParallelFor(n, [&](int64_t r) {
      (*divergences)[done + static_cast<size_t>(r)] = DivergenceOfLogits(
          n_common, p.data() + r * n_vocab_p, q.data() + r * n_vocab_q);
    });
    for (size_t r = done; r < divergences->size(); ++r) {
      if (!std::isfinite((*divergences)[r])) {
        return absl::DataLossError(
            absl::StrCat("the divergence at scored position ", r, " is ",
                         (*divergences)[r]));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
