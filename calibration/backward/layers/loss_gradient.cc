// Tested by: model_gradient_test (differences), fisher_weights_test (labels).

#include "calibration/backward/layers/loss_gradient.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "calibration/backward/layers/row_gradients.h"
#include "calibration/linear.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/gradients/device/draw_math.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// Logits held at a time.
constexpr int64_t kLogitBytes = int64_t{128} << 20;
constexpr int64_t kMostRows = 1024;
// Rows of the output matrix whose products with gradients are one sum in
// float32; the sums are added in double.
constexpr int64_t kSliceTokens = 4096;
// Probabilities are summed in parts of so many, for draws to pass over.
using gradient_threads::kPartTokens;
static_assert(LossGradient::kDraws == gradient_threads::kDraws,
              "a device has as many");

}  // namespace

uint64_t LossGradient::SeedOfDraw(uint64_t seed, int i) {
  return gradient_threads::SeedOfDraw(seed, i);
}

int64_t LossGradient::MostRows(int64_t n_vocab) {
  const int64_t row_bytes = n_vocab * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(kLogitBytes / row_bytes, 1, kMostRows);
}

absl::Status LossGradient::Run(const HiddenStates& hidden,
                               const uint8_t* counts, int64_t first_token,
                               int32_t* labels, float* gradient, double* total,
                               GradientObserver* observer) {
  const int64_t n_vocab = tensors_->output.n_rows;
  const int64_t n_tokens = hidden.n_windows * hidden.window_tokens;
  std::vector<int64_t> counted;
  for (int64_t t = 0; t < n_tokens; ++t) {
    if (counts[t] == 0) {
      continue;
    }
    if (labels[t] >= n_vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("the label of token ", first_token + t, " is number ",
                       labels[t], ", the vocabulary has ", n_vocab));
    }
    counted.push_back(t);
  }
  std::fill_n(gradient, n_tokens * hidden.hidden_size, 0.0f);
  const int64_t most_rows = MostRows(n_vocab);
  const absl::Span<const int64_t> all(counted);
  for (size_t first = 0; first < counted.size();
       first += static_cast<size_t>(most_rows)) {
    RETURN_IF_ERROR(RunRows(hidden,
                            all.subspan(first, static_cast<size_t>(most_rows)),
                            first_token, labels, gradient, total, observer));
  }
  return absl::OkStatus();
}

absl::Status LossGradient::RunRows(const HiddenStates& hidden,
                                   absl::Span<const int64_t> tokens,
                                   int64_t first_token, int32_t* labels,
                                   float* gradient, double* total,
                                   GradientObserver* observer) {
  const int64_t n_rows = static_cast<int64_t>(tokens.size());
  const int64_t n_hidden = hidden.hidden_size;
  const int64_t n_vocab = tensors_->output.n_rows;
  const float eps = context_->config().norm_eps;
  const float* norm = tensors_->output_norm.data();
  normed_.resize(static_cast<size_t>(n_rows * n_hidden));
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    context_->rows.rms_norm(hidden.row(0, tokens[static_cast<size_t>(r)]), norm,
                            n_hidden, eps, normed_.data() + r * n_hidden);
  });
  RETURN_IF_ERROR(Multiply(n_rows));

  std::vector<double> losses(tokens.size());
  draws_.assign(tokens.size(), Draws());
  context_->pool.ParallelFor(n_rows, [&](int64_t r) {
    const size_t i = static_cast<size_t>(r);
    losses[i] = Softmax(logits_.data() + r * n_vocab, first_token + tokens[i],
                        labels + tokens[i], &draws_[i]);
  });
  for (int64_t r = 0; r < n_rows; ++r) {
    const double loss = losses[static_cast<size_t>(r)];
    if (!std::isfinite(loss)) {
      return absl::DataLossError(absl::StrCat(
          "the logits of token ", first_token + tokens[static_cast<size_t>(r)],
          " are not finite; tensor '", tensors_->output.name(), "'; reading ",
          context_->model->path()));
    }
    *total += loss;
  }
  if (observer != nullptr) {
    LayerGradient shown;
    shown.name = "output.weight";
    shown.rows = logits_.data();
    shown.n_rows = n_rows;
    shown.n_cols = shown.stride = n_vocab;
    shown.tokens = tokens;
    RETURN_IF_ERROR(observer->OnGradient(shown));
  }

  const bool drawn =
      std::all_of(draws_.begin(), draws_.end(),
                  [](const Draws& draws) { return draws.drawn; });
  RETURN_IF_ERROR(drawn ? AddDraws(n_rows) : MultiplyBack(n_rows));
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    const int64_t token = tokens[static_cast<size_t>(r)];
    float* row = gradient + token * n_hidden;
    for (int64_t i = 0; i < n_hidden; ++i) {
      row[i] = static_cast<float>(sums_[static_cast<size_t>(r * n_hidden + i)]);
    }
    RmsNormGradient(hidden.row(0, token), norm, n_hidden, eps, row);
  });
  return absl::OkStatus();
}

absl::Status LossGradient::ForEachSlice(
    absl::FunctionRef<void(int64_t, int64_t, const float*)> use) {
  const WeightRows& output = tensors_->output;
  const int64_t n_cols = output.n_cols();
  ASSIGN_OR_RETURN(const auto kept, weights_->GetIfKept(output));
  for (int64_t first = 0; first < output.n_rows; first += kSliceTokens) {
    const int64_t n = std::min(kSliceTokens, output.n_rows - first);
    if (kept != nullptr) {
      use(first, n, kept->values.data() + first * n_cols);
      continue;
    }
    slice_.resize(static_cast<size_t>(n * n_cols));
    RETURN_IF_ERROR(weights_->ReadRowsOf(output, first, n, slice_.data()));
    use(first, n, slice_.data());
  }
  return absl::OkStatus();
}

absl::Status LossGradient::Multiply(int64_t n_rows) {
  const int64_t n_vocab = tensors_->output.n_rows;
  const int64_t n_hidden = tensors_->output.n_cols();
  logits_.resize(static_cast<size_t>(n_rows * n_vocab));
  return ForEachSlice([&](int64_t first, int64_t n, const float* weights) {
    GemmNT(&context_->pool, Update::kSet, n_rows, n, n_hidden, normed_.data(),
           n_hidden, weights, n_hidden, logits_.data() + first, n_vocab);
  });
}

absl::Status LossGradient::MultiplyBack(int64_t n_rows) {
  const int64_t n_vocab = tensors_->output.n_rows;
  const int64_t n_hidden = tensors_->output.n_cols();
  products_.resize(static_cast<size_t>(n_rows * n_hidden));
  sums_.assign(products_.size(), 0.0);
  return ForEachSlice([&](int64_t first, int64_t n, const float* weights) {
    Gemm(&context_->pool, Update::kSet, n_rows, n_hidden, n,
         logits_.data() + first, n_vocab, weights, n_hidden, products_.data(),
         n_hidden);
    ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
      for (int64_t i = r * n_hidden; i < (r + 1) * n_hidden; ++i) {
        sums_[static_cast<size_t>(i)] +=
            static_cast<double>(products_[static_cast<size_t>(i)]);
      }
    });
  });
}

absl::Status LossGradient::AddDraws(int64_t n_rows) {
  const WeightRows& output = tensors_->output;
  const int64_t n_hidden = output.n_cols();
  ASSIGN_OR_RETURN(const auto kept, weights_->GetIfKept(output));
  sums_.assign(static_cast<size_t>(n_rows * n_hidden), 0.0);
  std::vector<absl::Status> results(static_cast<size_t>(n_rows));
  context_->pool.ParallelFor(n_rows, [&](int64_t r) {
    const Draws& draws = draws_[static_cast<size_t>(r)];
    double* sums = sums_.data() + r * n_hidden;
    std::vector<float> own(static_cast<size_t>(kept ? 0 : n_hidden));
    for (int d = 0; d < kDraws; ++d) {
      const float* row = own.data();
      if (kept != nullptr) {
        row = kept->values.data() + draws.tokens[d] * n_hidden;
      } else {
        results[static_cast<size_t>(r)].Update(
            weights_->ReadRow(output, draws.tokens[d], own.data()));
      }
      for (int64_t i = 0; i < n_hidden; ++i) {
        sums[i] += double{draws.factors[d]} * double{row[i]};
      }
    }
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  return absl::OkStatus();
}

double LossGradient::Softmax(float* logits, int64_t token, int32_t* label,
                             Draws* draws) const {
  const RowKernels& rows = context_->rows;
  const int64_t n = tensors_->output.n_rows;
  const float cap = context_->config().final_logit_softcap;
  std::vector<float> capped;
  if (cap > 0) {
    rows.soft_cap(cap, n, logits);
    capped.assign(logits, logits + n);
  }
  if (!rows.all_finite(logits, n)) {
    return NAN;
  }
  const float top = rows.max(logits, n);
  // Of a label that is given, before it becomes an exponential.
  const float given = *label < 0 ? 0 : logits[*label];
  std::vector<double> parts;
  double total = 0;
  for (int64_t first = 0; first < n; first += kPartTokens) {
    parts.push_back(rows.exp_in_place(top, std::min(kPartTokens, n - first),
                                      logits + first));
    total += parts.back();
  }
  double log_term = static_cast<double>(given) - static_cast<double>(top);
  if (*label < 0) {
    draws->drawn = true;
    for (int d = 0; d < kDraws; ++d) {
      const int32_t drawn = gradient_threads::Draw(
          n, parts.data(), static_cast<int64_t>(parts.size()),
          gradient_threads::Uniform(SeedOfDraw(seed_, d), token) * total,
          [logits](int64_t i) { return logits[i]; });
      draws->tokens[d] = drawn;
      draws->factors[d] = (d % 2 == 0 ? -1 : 1) / std::sqrt(float{kDraws});
      if (cap > 0) {
        SoftCapGradient(cap, &capped[static_cast<size_t>(drawn)], 1,
                        &draws->factors[d]);
      }
    }
    *label = draws->tokens[0];
    log_term = Log(static_cast<double>(logits[*label]));
  }
  rows.scale(logits, static_cast<float>(1.0 / total), n, logits);
  logits[*label] -= 1.0f;
  if (cap > 0) {
    SoftCapGradient(cap, capped.data(), n, logits);
  }
  return Log(total) - log_term;
}

}  // namespace narrow
