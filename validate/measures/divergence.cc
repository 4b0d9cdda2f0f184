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
ExpSum TermsOf(int64_t n_tokens, const float* candidate) {
  const RowKernels& rows = RowKernelsForCpu();
  ExpSum terms;
  terms.top = rows.max(candidate, n_tokens);
  terms.sum = rows.exp_sum(candidate, terms.top, n_tokens);
  return terms;
}

void Subtract(int64_t n_tokens, const float* reference, float* candidate) {
  for (int64_t i = 0; i < n_tokens; ++i) {
    candidate[i] = reference[i] - candidate[i];
  }
}

// From the element `first` on.
absl::Status CheckFinite(const std::vector<double>& divergences, size_t first) {
  for (size_t r = first; r < divergences.size(); ++r) {
    if (!std::isfinite(divergences[r])) {
      return absl::DataLossError(absl::StrCat(
          "the divergence at scored position ", r, " is ", divergences[r]));
    }
  }
  return absl::OkStatus();
}

// Memory of a device, used from slice to slice; or it does not fit.
struct BothLogits {
  DeviceLogits p, q;
  bool fit = true;
};

// Of n positions, where both models are on one device. False: logits must be
// compared here, since they are not, or memory is short there.
absl::StatusOr<bool> AddThere(const DivergenceReference& reference,
                              const float* reference_rows, const float* rows,
                              int64_t n, ModelRunner* candidate,
                              BothLogits* logits,
                              std::vector<double>* divergences) {
  if (reference.runner->device() == nullptr || candidate->device() == nullptr ||
      !logits->fit) {
    return false;
  }
  const auto compare = [&]() -> absl::StatusOr<std::vector<LogitTerms>> {
    RETURN_IF_ERROR(
        reference.runner->LogitsOnDevice(reference_rows, n, &logits->p));
    RETURN_IF_ERROR(candidate->LogitsOnDevice(rows, n, &logits->q));
    return CompareOnDevice(*candidate->device(), logits->p, logits->q, {});
  };
  const auto terms = compare();
  if (absl::IsResourceExhausted(terms.status())) {
    *logits = BothLogits();
    logits->fit = false;
    candidate->Note(absl::StrCat("logits are compared on the processor: ",
                                 terms.status().message()));
    return false;
  }
  RETURN_IF_ERROR(terms.status());
  for (const LogitTerms& row : *terms) {
    divergences->push_back(DivergenceOfTerms(row));
  }
  return true;
}

}  // namespace

// log p - log q = (l_p - l_q) - (top_p + log sum_p) + (top_q + log sum_q).
double DivergenceOfSums(double cross, const ExpSum& p, const ExpSum& q) {
  const double mean_difference = cross / p.sum;
  const double divergence = mean_difference - p.top - std::log(p.sum) +
                            static_cast<double>(q.top) + std::log(q.sum);
  // !(x < 0) keeps a NaN.
  return divergence < 0 ? 0 : divergence;
}

double DivergenceOfTerms(const LogitTerms& terms) {
  return DivergenceOfSums(terms.cross, {terms.p_common.top, terms.p_common.sum},
                          {terms.q_common.top, terms.q_common.sum});
}

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
  const ExpSum q = TermsOf(n_tokens, candidate);
  Subtract(n_tokens, reference, candidate);
  return DivergenceOfSums(Dot(exps, candidate, n_tokens), terms, q);
}

double DivergenceOfLogits(int64_t n_tokens, float* reference,
                          float* candidate) {
  const ExpSum q = TermsOf(n_tokens, candidate);
  Subtract(n_tokens, reference, candidate);
  const ExpSum terms = ExpInPlace(n_tokens, reference);
  return DivergenceOfSums(Dot(reference, candidate, n_tokens), terms, q);
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
  std::vector<float> p, q;
  BothLogits there;
  for (int64_t first = 0; first < n_rows; first += slice) {
    const int64_t n = std::min(slice, n_rows - first);
    const float* const reference_rows =
        reference.rows->data() + (first_row + first) * reference_width;
    const size_t n_before = divergences->size();
    ASSIGN_OR_RETURN(const bool done_there,
                     AddThere(reference, reference_rows, rows + first * width,
                              n, candidate, &there, divergences));
    if (done_there) {
      RETURN_IF_ERROR(CheckFinite(*divergences, n_before));
      continue;
    }
    p.resize(static_cast<size_t>(slice * n_vocab_p));
    q.resize(static_cast<size_t>(slice * n_vocab_q));
    RETURN_IF_ERROR(reference.runner->Logits(reference_rows, n, p.data()));
    RETURN_IF_ERROR(candidate->Logits(rows + first * width, n, q.data()));
    const size_t done = divergences->size();
    divergences->resize(done + static_cast<size_t>(n));
    reference.pool->ParallelFor(n, [&](int64_t r) {
      (*divergences)[done + static_cast<size_t>(r)] = DivergenceOfLogits(
          n_common, p.data() + r * n_vocab_p, q.data() + r * n_vocab_q);
    });
    RETURN_IF_ERROR(CheckFinite(*divergences, done));
  }
  return absl::OkStatus();
}

}  // namespace narrow
