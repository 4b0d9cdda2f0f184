// Tested by: device_gradient_test.

#include "calibration/backward/device/device_loss_gradient.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "calibration/backward/layers/loss_gradient.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/gradients/device/device_gradients.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using gradient_threads::RowDraws;

// Rows of the output matrix whose products with gradients are one sum in
// float32: those of loss_gradient.cc.
constexpr int64_t kSumTokens = 4096;

// Whether what goes back of some rows is draws.
bool AllDrawn(absl::Span<const int32_t> given) {
  return std::all_of(given.begin(), given.end(),
                     [](int32_t label) { return label < 0; });
}

}  // namespace

absl::Status DeviceLossGradient::Run(int64_t n_tokens, const uint8_t* counts,
                                     int64_t first_token, int32_t* labels,
                                     double* total,
                                     GradientObserver* observer) {
  const int64_t n_vocab = tensors_->output.n_rows;
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
  const int64_t n_hidden = context_->config().hidden_size;
  RETURN_IF_ERROR(context_->stream()->Fill(
      0, static_cast<size_t>(n_tokens * n_hidden) * sizeof(float),
      memory_->places().gradient));
  const absl::Span<const int64_t> all(counted);
  for (size_t first = 0; first < counted.size();
       first += static_cast<size_t>(memory_->shape().loss_rows)) {
    Rows rows = {
        all.subspan(first, static_cast<size_t>(memory_->shape().loss_rows)),
        first_token, labels, observer, places().logits};
    rows.logits.n_rows = rows.n();
    RETURN_IF_ERROR(RunSome(&rows, total));
  }
  return absl::OkStatus();
}

absl::Status DeviceLossGradient::RunSome(Rows* rows, double* total) {
  const int64_t n = rows->n();
  const int64_t n_hidden = context_->config().hidden_size;
  std::vector<int32_t> given;
  for (const int64_t token : rows->tokens) {
    given.push_back(rows->labels[token]);
  }
  RETURN_IF_ERROR(context_->ToDevice(rows->tokens.data(), 8 * n,
                                     places().tokens, "numbers of tokens"));
  RETURN_IF_ERROR(
      context_->ToDevice(given.data(), 4 * n, places().labels, "labels"));
  RETURN_IF_ERROR(Multiply(*rows));
  RETURN_IF_ERROR(DrawLabels(rows, total));
  RETURN_IF_ERROR(GoBack(*rows, given));
  gradient_threads::NormGradientTask norm = {};
  norm.x = memory_->places().input;
  norm.weight = context_->vector(tensors_->output_norm);
  norm.gradient = places().normed;
  norm.n_rows = n;
  norm.n = n_hidden;
  norm.eps = context_->config().norm_eps;
  norm.out = memory_->places().gradient;
  norm.rows = places().tokens;
  return RunGradients(norm, context_->stream());
}

// The logits, with their soft cap.
absl::Status DeviceLossGradient::Multiply(const Rows& rows) {
  DeviceStream* const stream = context_->stream();
  const int64_t n = rows.n();
  const int64_t n_hidden = context_->config().hidden_size;
  const int64_t n_vocab = rows.logits.n_tokens;
  float* const logits = rows.logits.logits;
  float* const normed = places().normed;
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::PickScaledTask{memory_->places().input, places().tokens,
                                       n, n_hidden, n_hidden, nullptr, false,
                                       normed},
      stream));
  row_threads::NormTask norm = {};
  norm.x = normed;
  norm.weight = context_->vector(tensors_->output_norm);
  norm.n_rows = n;
  norm.n = n_hidden;
  norm.eps = context_->config().norm_eps;
  norm.out.floats = normed;
  RETURN_IF_ERROR(RunRows(norm, stream));
  RETURN_IF_ERROR(ForEachSlice([&](int64_t first, const DeviceMatrix& weights) {
    return context_->Multiply({normed, nullptr, n, n_hidden}, weights,
                              logits + first, n_vocab);
  }));
  const float cap = context_->config().final_logit_softcap;
  return cap > 0 ? RunRows(row_threads::MixTask{logits, 1, 0, cap, n * n_vocab,
                                                logits},
                           stream)
                 : absl::OkStatus();
}

// Labels are drawn, losses added, and logits become gradients.
absl::Status DeviceLossGradient::DrawLabels(Rows* rows, double* total) {
  DeviceStream* const stream = context_->stream();
  const int64_t n = rows->n();
  const float cap = context_->config().final_logit_softcap;
  const gradient_threads::LogitRows& logits = rows->logits;
  const int64_t n_parts = n * logits.n_parts();
  ASSIGN_OR_RETURN(FiniteFlags flags, FiniteFlags::Begin(context_, 1, n));
  RETURN_IF_ERROR(
      flags.Look(0, 0, logits.logits, n, logits.n_tokens, logits.n_tokens));
  ASSIGN_OR_RETURN(const std::vector<int64_t> bad, flags.First());
  if (bad[0] >= 0) {
    return absl::DataLossError(absl::StrCat(
        "the logits of token ",
        rows->first_token + rows->tokens[static_cast<size_t>(bad[0])],
        " are not finite; tensor '", tensors_->output.name(), "'; reading ",
        context_->host()->model->path()));
  }
  std::vector<RowDraws> draws(static_cast<size_t>(n));
  const auto draw_bytes = static_cast<int64_t>(draws.size() * sizeof(RowDraws));
  RETURN_IF_ERROR(
      stream->Fill(0, static_cast<size_t>(draw_bytes), places().draws));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::PartTopTask{logits, n_parts, logits.n_tokens}, stream));
  RETURN_IF_ERROR(RunGradients(gradient_threads::RowTopTask{logits}, stream));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::PartSumTask{logits, n_parts, logits.n_tokens}, stream));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::DrawTask{logits, n, logits.n_tokens, places().labels,
                                 places().tokens, rows->first_token, seed_, cap,
                                 places().draws},
      stream));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::LogitGradientTask{logits, places().draws, cap},
      stream));
  RETURN_IF_ERROR(
      context_->ToHost(places().draws, draw_bytes, draws.data(), "labels"));
  return AddLosses(rows, draws, total);
}

absl::Status DeviceLossGradient::AddLosses(Rows* rows,
                                           const std::vector<RowDraws>& draws,
                                           double* total) const {
  for (size_t i = 0; i < draws.size(); ++i) {
    const RowDraws& its = draws[i];
    int32_t* const label = rows->labels + rows->tokens[i];
    const double log_term = *label < 0
                                ? Log(static_cast<double>(its.label_term))
                                : static_cast<double>(its.label_term) -
                                      static_cast<double>(its.top);
    *label = its.label;
    const double loss = Log(its.total) - log_term;
    if (!std::isfinite(loss)) {
      return absl::DataLossError(absl::StrCat(
          "the logits of token ", rows->first_token + rows->tokens[i],
          " are not finite; tensor '", tensors_->output.name(), "'; reading ",
          context_->host()->model->path()));
    }
    *total += loss;
  }
  return absl::OkStatus();
}

absl::Status DeviceLossGradient::GoBack(const Rows& rows,
                                        const std::vector<int32_t>& given) {
  const int64_t n_vocab = rows.logits.n_tokens;
  const int64_t most = LossGradient::MostRows(n_vocab);
  bool any_drawn = false;
  for (int64_t first = 0; first < rows.n(); first += most) {
    const int64_t n = std::min(most, rows.n() - first);
    LayerGradient shown;
    shown.name = "output.weight";
    shown.rows = rows.logits.logits + first * n_vocab;
    shown.n_rows = n;
    shown.n_cols = shown.stride = n_vocab;
    shown.tokens =
        rows.tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    RETURN_IF_ERROR(showing_.Show(shown, rows.observer));
    if (AllDrawn(absl::MakeConstSpan(given).subspan(static_cast<size_t>(first),
                                                    static_cast<size_t>(n)))) {
      any_drawn = true;
    } else {
      RETURN_IF_ERROR(MultiplyBack(rows, first, n));
    }
  }
  return any_drawn ? AddDraws(rows, given) : absl::OkStatus();
}

// The rows that were drawn come to where the logits were.
absl::Status DeviceLossGradient::AddDraws(const Rows& rows,
                                          const std::vector<int32_t>& given) {
  DeviceStream* const stream = context_->stream();
  const int64_t n_hidden = context_->config().hidden_size;
  RETURN_IF_ERROR(ForEachSlice([&](int64_t first, const DeviceMatrix& weights) {
    return RunGradients(
        gradient_threads::PickDrawnTask{places().draws, weights.floats(), first,
                                        weights.n_rows, rows.n(), n_hidden,
                                        places().picked},
        stream);
  }));
  const int64_t most = LossGradient::MostRows(rows.logits.n_tokens);
  for (int64_t first = 0; first < rows.n(); first += most) {
    const int64_t n = std::min(most, rows.n() - first);
    if (AllDrawn(absl::MakeConstSpan(given).subspan(static_cast<size_t>(first),
                                                    static_cast<size_t>(n)))) {
      RETURN_IF_ERROR(RunGradients(
          gradient_threads::AddDrawnTask{
              places().draws + first,
              places().picked + first * gradient_threads::kDraws * n_hidden, n,
              n_hidden, places().normed + first * n_hidden},
          stream));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceLossGradient::MultiplyBack(const Rows& rows, int64_t first,
                                              int64_t n) {
  DeviceStream* const stream = context_->stream();
  const int64_t n_hidden = context_->config().hidden_size;
  const int64_t n_vocab = rows.logits.n_tokens;
  double* const sums = places().sums;
  RETURN_IF_ERROR(stream->Fill(
      0, static_cast<size_t>(n * n_hidden) * sizeof(double), sums));
  return ForEachSlice([&](int64_t token, const DeviceMatrix& weights) {
    for (int64_t at = 0; at < weights.n_rows; at += kSumTokens) {
      RETURN_IF_ERROR(RunChainProduct(
          chain::Gemm(Update::kSet, n, n_hidden,
                      std::min(kSumTokens, weights.n_rows - at),
                      rows.logits.logits + first * n_vocab + token + at,
                      n_vocab, weights.floats() + at * n_hidden, n_hidden,
                      places().products, n_hidden),
          stream));
      RETURN_IF_ERROR(RunGradients(
          gradient_threads::WidenTask{places().products, n * n_hidden, sums,
                                      places().normed + first * n_hidden},
          stream));
    }
    return absl::OkStatus();
  });
}

absl::Status DeviceLossGradient::ForEachSlice(const SliceFn& use) {
  DeviceStream* const stream = context_->stream();
  for (int64_t i = 0; i < context_->n_slices(); ++i) {
    const int64_t group = context_->slice_group(i);
    ASSIGN_OR_RETURN(const absl::Span<const DeviceMatrix> matrices,
                     context_->weights()->Acquire(group, stream));
    const absl::Status status =
        use(i * DeviceContext::kSliceTokens, matrices[0]);
    const absl::Status released = context_->weights()->Release(group, stream);
    RETURN_IF_ERROR(status.ok() ? released : status);
  }
  return absl::OkStatus();
}

}  // namespace narrow
