#include "calibration/feed_forward.h"

#include <algorithm>

#include "formats/base/elementary.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Rows worked on together where windows do not matter.
constexpr int64_t kStepRows = 1024;

// The rows of one expert in a stacked tensor.
WeightRows OfExpert(const WeightRows& stacked, int64_t expert) {
  return {stacked.tensor, expert * stacked.n_rows, stacked.n_rows};
}

}  // namespace

std::vector<Choice> ChooseExperts(absl::Span<const float> logits,
                                  int64_t n_used, bool rescale) {
  std::vector<Choice> all;
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> terms;
  double total = 0;
  for (const float logit : logits) {
    terms.push_back(Exp(logit - top));
    total += terms.back();
  }
  for (size_t e = 0; e < logits.size(); ++e) {
    all.push_back(
        {static_cast<int64_t>(e), static_cast<float>(terms[e] / total)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [&](const Choice& a, const Choice& b) {
                     return logits[static_cast<size_t>(a.expert)] >
                            logits[static_cast<size_t>(b.expert)];
                   });
  all.resize(static_cast<size_t>(n_used));
  double chosen = 0;
  for (const Choice& choice : all) {
    chosen += choice.weight;
  }
  if (rescale) {
    for (Choice& choice : all) {
      choice.weight = static_cast<float>(choice.weight / chosen);
    }
  }
  std::sort(all.begin(), all.end(), [](const Choice& a, const Choice& b) {
    return a.expert < b.expert;
  });
  return all;
}

absl::Status FeedForward::Run(const BlockTensors& block, PartEnd end,
                              Observer* observer, HiddenStates* hidden) {
  return block.has_experts ? RunExperts(block, end, observer, hidden)
                           : RunDense(block, end, observer, hidden);
}

absl::StatusOr<FeedForward::Matrices> FeedForward::Unpack(
    const WeightRows& gate, const WeightRows& up, const WeightRows& down,
    PartEnd end) {
  const ScopedTimer timer(&context_->times->weights);
  PackedWeights& weights = context_->weights;
  Matmul* products = &context_->products;
  Matrices matrices;
  if (end == PartEnd::kInput) {
    return matrices;
  }
  ASSIGN_OR_RETURN(matrices.gate, weights.Get(gate, products));
  ASSIGN_OR_RETURN(matrices.up, weights.Get(up, products));
  if (end == PartEnd::kOutput) {
    ASSIGN_OR_RETURN(matrices.down, weights.Get(down, products));
  }
  return matrices;
}

absl::StatusOr<FeedForward::Matrices> FeedForward::UnpackExpert(
    const BlockTensors& block, int64_t expert, PartEnd end) {
  return Unpack(OfExpert(block.expert_gate, expert),
                OfExpert(block.expert_up, expert),
                OfExpert(block.expert_down, expert), end);
}

void FeedForward::NormRow(const BlockTensors& block, const float* hidden_row,
                          int64_t r) {
  context_->rows.rms_norm(hidden_row, block.ffn_norm.data(), normed_.n_cols,
                          context_->config().norm_eps, normed_.row(r));
}

void FeedForward::NormRows(const BlockTensors& block, const float* from,
                           int64_t n_rows) {
  const int64_t n_hidden = context_->config().hidden_size;
  normed_.Resize(n_rows, n_hidden, context_->products.type());
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    NormRow(block, from + r * n_hidden, r);
    normed_.Round(r, context_->rows);
  });
}

void FeedForward::NormAssigned(const BlockTensors& block,
                               const HiddenStates& hidden,
                               absl::Span<const Assigned> assigned) {
  normed_.Resize(static_cast<int64_t>(assigned.size()), hidden.hidden_size,
                 context_->products.type());
  ForEachRow(&context_->pool, normed_.n_rows, [&](int64_t r) {
    NormRow(block, hidden.row(0, assigned[static_cast<size_t>(r)].row), r);
    normed_.Round(r, context_->rows);
  });
}

void FeedForward::Gate(const Matrices& matrices,
                       const std::vector<float>& gate_bias,
                       const std::vector<float>& up_bias, bool keep) {
  const RowKernels& rows = context_->rows;
  const auto gate =
      context_->traits().activation == BlockTraits::Activation::kSilu
          ? rows.gate_silu
          : rows.gate_gelu;
  inner_.Resize(normed_.n_rows, matrices.gate->n_outputs(),
                context_->products.type());
  if (keep) {
    gates_.resize(inner_.values.size());
    ups_.resize(inner_.values.size());
  }
  ForEachTilePair(
      &context_->products, &context_->pool, normed_, *matrices.gate,
      *matrices.up, [&](const Tile& gates, const Tile& ups) {
        AddBias(rows, gate_bias, gates);
        AddBias(rows, up_bias, ups);
        for (int64_t r = 0; r < gates.n_rows; ++r) {
          const float* gate_row = gates.values + r * gates.n_cols;
          const float* up_row = ups.values + r * gates.n_cols;
          const int64_t at =
              (gates.first_row + r) * inner_.n_cols + gates.first_col;
          gate(gate_row, up_row, gates.n_cols, inner_.values.data() + at);
          if (keep) {
            std::copy_n(gate_row, gates.n_cols, gates_.data() + at);
            std::copy_n(up_row, gates.n_cols, ups_.data() + at);
          }
        }
      });
  ForEachRow(&context_->pool, inner_.n_rows,
             [&](int64_t r) { inner_.Round(r, rows); });
}

void FeedForward::Project(const Matrices& matrices,
                          const std::vector<float>& bias) {
  const int64_t n_hidden = context_->config().hidden_size;
  projected_.resize(static_cast<size_t>(inner_.n_rows * n_hidden));
  ForEachTile(&context_->products, &context_->pool, inner_,
              {matrices.down.get()}, [&](size_t, const Tile& tile) {
                AddBias(context_->rows, bias, tile);
                for (int64_t r = 0; r < tile.n_rows; ++r) {
                  std::copy_n(tile.values + r * tile.n_cols, tile.n_cols,
                              projected_.data() +
                                  (tile.first_row + r) * n_hidden +
                                  tile.first_col);
                }
              });
}

// to += from, after the norm of the block's output if it has one.
void FeedForward::AddRow(const BlockTensors& block, float* from,
                         float* to) const {
  const RowKernels& rows = context_->rows;
  const int64_t n_hidden = context_->config().hidden_size;
  if (!block.post_ffn_norm.empty()) {
    rows.rms_norm(from, block.post_ffn_norm.data(), n_hidden,
                  context_->config().norm_eps, from);
  }
  rows.add_scaled(from, 1, n_hidden, to);
}

absl::Status FeedForward::RunDense(const BlockTensors& block, PartEnd end,
                                   Observer* observer, HiddenStates* hidden) {
  ASSIGN_OR_RETURN(
      const Matrices matrices,
      Unpack(block.gate.weight, block.up.weight, block.down.weight, end));
  const ScopedTimer timer(&context_->times->feed_forward);
  const int64_t n_hidden = hidden->hidden_size;
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  for (int64_t first = 0; first < n_all; first += kStepRows) {
    const int64_t n_rows = std::min(kStepRows, n_all - first);
    float* residual = hidden->values.data() + first * n_hidden;
    NormRows(block, residual, n_rows);
    RETURN_IF_ERROR(
        Observe(observer, block.gate.weight.name(), first, normed_));
    if (block.up.weight.tensor != block.gate.weight.tensor) {
      RETURN_IF_ERROR(
          Observe(observer, block.up.weight.name(), first, normed_));
    }
    if (end == PartEnd::kInput) {
      continue;
    }
    Gate(matrices, block.gate.bias, block.up.bias);
    RETURN_IF_ERROR(Observe(observer, block.down.weight.name(), first, inner_,
                            block.post_ffn_norm.empty() ? hidden : nullptr));
    if (end == PartEnd::kInner) {
      continue;
    }
    AddDense(block, matrices, residual);
  }
  return absl::OkStatus();
}

// residual += down(inner_).
void FeedForward::AddDense(const BlockTensors& block, const Matrices& matrices,
                           float* residual) {
  const int64_t n_hidden = context_->config().hidden_size;
  Project(matrices, block.down.bias);
  ForEachRow(&context_->pool, inner_.n_rows, [&](int64_t r) {
    AddRow(block, projected_.data() + r * n_hidden, residual + r * n_hidden);
  });
}

absl::Status FeedForward::EndDense(const BlockTensors& block,
                                   const float* inner, HiddenStates* hidden) {
  Matrices matrices;
  {
    const ScopedTimer timer(&context_->times->weights);
    ASSIGN_OR_RETURN(matrices.down, context_->weights.Get(block.down.weight,
                                                          &context_->products));
  }
  const ScopedTimer timer(&context_->times->feed_forward);
  const int64_t n_cols = block.down.weight.n_cols();
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  for (int64_t first = 0; first < n_all; first += kStepRows) {
    inner_.Borrow(inner + first * n_cols, std::min(kStepRows, n_all - first),
                  n_cols, context_->products.type());
    ForEachRow(&context_->pool, inner_.n_rows,
               [&](int64_t r) { inner_.Round(r, context_->rows); });
    AddDense(block, matrices,
             hidden->values.data() + first * context_->config().hidden_size);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<FeedForward::Assigned>>>
FeedForward::Route(const BlockTensors& block, Observer* observer,
                   const HiddenStates& hidden, FeedForwardTrace* trace) {
  const ModelConfig& c = context_->config();
  ASSIGN_OR_RETURN(const auto router,
                   context_->weights.Get(block.router, &context_->exact));
  std::vector<std::vector<Assigned>> by_expert(
      static_cast<size_t>(c.n_experts));
  const int64_t n_all = hidden.n_windows * hidden.window_tokens;
  std::vector<float> logits(static_cast<size_t>(kStepRows * c.n_experts));
  for (int64_t first = 0; first < n_all; first += kStepRows) {
    const int64_t n_rows = std::min(kStepRows, n_all - first);
    normed_.Resize(n_rows, hidden.hidden_size, ProductType::kF32);
    ForEachRow(&context_->pool, n_rows,
               [&](int64_t r) { NormRow(block, hidden.row(0, first + r), r); });
    RETURN_IF_ERROR(Observe(observer, block.router.name(), first, normed_));
    ForEachTile(&context_->exact, &context_->pool, normed_, {router.get()},
                [&](size_t, const Tile& tile) {
                  for (int64_t r = 0; r < tile.n_rows; ++r) {
                    std::copy_n(tile.values + r * tile.n_cols, tile.n_cols,
                                logits.data() +
                                    (tile.first_row + r) * c.n_experts +
                                    tile.first_col);
                  }
                });
    if (trace != nullptr) {
      RETURN_IF_ERROR(trace->OnRouter(first, n_rows, logits.data()));
    }
    for (int64_t r = 0; r < n_rows; ++r) {
      const absl::Span<const float> row(logits.data() + r * c.n_experts,
                                        static_cast<size_t>(c.n_experts));
      for (const Choice& choice :
           ChooseExperts(row, c.n_experts_used, c.norm_topk_prob)) {
        by_expert[static_cast<size_t>(choice.expert)].push_back(
            {first + r, choice.weight});
      }
    }
  }
  return by_expert;
}

absl::Status FeedForward::RunExpert(const BlockTensors& block, int64_t expert,
                                    absl::Span<const Assigned> assigned,
                                    PartEnd end, Observer* observer,
                                    const HiddenStates& hidden,
                                    std::vector<float>* sums) {
  ASSIGN_OR_RETURN(const Matrices matrices, UnpackExpert(block, expert, end));
  const ScopedTimer timer(&context_->times->feed_forward);
  const RowKernels& rows = context_->rows;
  const int64_t n_hidden = hidden.hidden_size;
  const int index = static_cast<int>(expert);
  const int64_t n_assigned = static_cast<int64_t>(assigned.size());
  std::vector<int64_t> tokens;
  for (int64_t first = 0; first < n_assigned; first += kStepRows) {
    const auto step = assigned.subspan(first, kStepRows);
    tokens.clear();
    for (const Assigned& one : step) {
      tokens.push_back(one.row);
    }
    NormAssigned(block, hidden, step);
    RETURN_IF_ERROR(ObserveExpert(observer, block.expert_gate.name(), index,
                                  tokens, normed_));
    RETURN_IF_ERROR(ObserveExpert(observer, block.expert_up.name(), index,
                                  tokens, normed_));
    if (end == PartEnd::kInput) {
      continue;
    }
    Gate(matrices, {}, {});
    RETURN_IF_ERROR(ObserveExpert(observer, block.expert_down.name(), index,
                                  tokens, inner_));
    if (end == PartEnd::kInner) {
      continue;
    }
    ForEachTile(&context_->products, &context_->pool, inner_,
                {matrices.down.get()}, [&](size_t, const Tile& tile) {
                  for (int64_t r = 0; r < tile.n_rows; ++r) {
                    const Assigned& to =
                        step[static_cast<size_t>(tile.first_row + r)];
                    rows.add_scaled(
                        tile.values + r * tile.n_cols, to.weight, tile.n_cols,
                        sums->data() + to.row * n_hidden + tile.first_col);
                  }
                });
  }
  return absl::OkStatus();
}

absl::Status FeedForward::RunExperts(const BlockTensors& block, PartEnd end,
                                     Observer* observer, HiddenStates* hidden) {
  ASSIGN_OR_RETURN(const auto by_expert,
                   Route(block, observer, *hidden, /*trace=*/nullptr));
  std::vector<float> sums(end == PartEnd::kOutput ? hidden->values.size() : 0);
  for (size_t e = 0; e < by_expert.size(); ++e) {
    if (!by_expert[e].empty()) {
      RETURN_IF_ERROR(RunExpert(block, static_cast<int64_t>(e), by_expert[e],
                                end, observer, *hidden, &sums));
    }
  }
  if (end != PartEnd::kOutput) {
    return absl::OkStatus();
  }
  const int64_t n_hidden = hidden->hidden_size;
  ForEachRow(&context_->pool, hidden->n_windows * hidden->window_tokens,
             [&](int64_t r) {
               AddRow(block, sums.data() + r * n_hidden,
                      hidden->values.data() + r * n_hidden);
             });
  return absl::OkStatus();
}

absl::Status FeedForward::Trace(const BlockTensors& block,
                                const HiddenStates& hidden,
                                FeedForwardTrace* trace) {
  return block.has_experts ? TraceExperts(block, hidden, trace)
                           : TraceDense(block, hidden, trace);
}

absl::Status FeedForward::TraceDense(const BlockTensors& block,
                                     const HiddenStates& hidden,
                                     FeedForwardTrace* trace) {
  const bool post_norm = !block.post_ffn_norm.empty();
  ASSIGN_OR_RETURN(const Matrices matrices,
                   Unpack(block.gate.weight, block.up.weight, block.down.weight,
                          post_norm ? PartEnd::kOutput : PartEnd::kInner));
  const int64_t n_all = hidden.n_windows * hidden.window_tokens;
  for (int64_t first = 0; first < n_all; first += kStepRows) {
    FeedForwardStep step;
    step.n_rows = std::min(kStepRows, n_all - first);
    step.first_token = first;
    NormRows(block, hidden.row(0, first), step.n_rows);
    Gate(matrices, block.gate.bias, block.up.bias, /*keep=*/true);
    step.gates = gates_.data();
    step.ups = ups_.data();
    if (post_norm) {
      Project(matrices, block.down.bias);
      step.outputs = projected_.data();
    }
    RETURN_IF_ERROR(trace->OnStep(step));
  }
  return absl::OkStatus();
}

absl::Status FeedForward::TraceExpert(const BlockTensors& block, int64_t expert,
                                      absl::Span<const Assigned> assigned,
                                      const HiddenStates& hidden,
                                      FeedForwardTrace* trace) {
  ASSIGN_OR_RETURN(const Matrices matrices,
                   UnpackExpert(block, expert, PartEnd::kOutput));
  std::vector<int64_t> tokens;
  std::vector<float> weights;
  for (size_t first = 0; first < assigned.size(); first += kStepRows) {
    const auto rows = assigned.subspan(first, kStepRows);
    tokens.clear();
    weights.clear();
    for (const Assigned& one : rows) {
      tokens.push_back(one.row);
      weights.push_back(one.weight);
    }
    NormAssigned(block, hidden, rows);
    Gate(matrices, {}, {}, /*keep=*/true);
    Project(matrices, {});
    FeedForwardStep step;
    step.expert = static_cast<int>(expert);
    step.n_rows = normed_.n_rows;
    step.tokens = tokens;
    step.weights = weights;
    step.gates = gates_.data();
    step.ups = ups_.data();
    step.outputs = projected_.data();
    RETURN_IF_ERROR(trace->OnStep(step));
  }
  return absl::OkStatus();
}

absl::Status FeedForward::TraceExperts(const BlockTensors& block,
                                       const HiddenStates& hidden,
                                       FeedForwardTrace* trace) {
  ASSIGN_OR_RETURN(const auto by_expert,
                   Route(block, /*observer=*/nullptr, hidden, trace));
  for (size_t e = 0; e < by_expert.size(); ++e) {
    if (!by_expert[e].empty()) {
      RETURN_IF_ERROR(TraceExpert(block, static_cast<int64_t>(e), by_expert[e],
                                  hidden, trace));
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
