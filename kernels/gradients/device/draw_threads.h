// The gradient of the loss at the logits, and what goes back of labels that
// are drawn (calibration/backward/layers/loss_gradient.h), as a card's threads
// compute it. Logits have their soft cap already; they stay until the last
// step, exponentials being taken anew where they are wanted.

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_THREADS_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/gradients/device/draw_math.h"
#include "kernels/rows/device/row_math.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace gradient_threads {

static_assert(kDraws == row_threads::kLanes, "a thread a draw");

// Logits [n_rows, n_tokens], and what is known of them.
struct LogitRows {
  float* logits;
  int64_t n_rows;
  int64_t n_tokens;
  float* tops;        // [n_rows]
  float* part_tops;   // [n_rows, n_parts]
  double* part_sums;  // likewise, of exp(logit - the row's top)

  NARROW_ROW_FUNCTION int64_t n_parts() const {
    return (n_tokens + kPartTokens - 1) / kPartTokens;
  }
  NARROW_ROW_FUNCTION int64_t PartTokens(int64_t part) const {
    const int64_t left = n_tokens - part * kPartTokens;
    return left < kPartTokens ? left : kPartTokens;
  }
  // exp(logit - top).
  NARROW_ROW_FUNCTION float Term(int64_t row, int64_t token) const {
    const int64_t part = token / kPartTokens;
    return row_threads::ExpTerm(logits[row * n_tokens + token], tops[row],
                                token - part * kPartTokens, PartTokens(part));
  }
};

// The largest logit of each part; a row of the task is a part.
struct PartTopTask {
  LogitRows all;
  int64_t n_rows;  // all.n_rows * all.n_parts()
  int64_t n;       // all.n_tokens

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t at, int64_t /*step*/, int lane,
                               row_threads::LaneSums* sums) const {
    if constexpr (kPhase == 0) {
      const int64_t part = at % all.n_parts();
      const float* const its =
          all.logits + at / all.n_parts() * n + part * kPartTokens;
      float top = -INFINITY;
      for (int64_t i = lane; i < all.PartTokens(part);
           i += row_threads::kLanes) {
        top = its[i] > top ? its[i] : top;
      }
      sums->tops[lane] = top;
    } else if (lane == 0) {
      float top = sums->tops[0];
      for (int i = 1; i < row_threads::kLanes; ++i) {
        top = sums->tops[i] > top ? sums->tops[i] : top;
      }
      all.part_tops[at] = top;
    }
  }
};

// The largest of all parts.
struct RowTopTask {
  LogitRows all;

  NARROW_ROW_FUNCTION int64_t n() const { return all.n_rows; }
  NARROW_ROW_FUNCTION void Run(int64_t row) const {
    const float* const parts = all.part_tops + row * all.n_parts();
    float top = parts[0];
    for (int64_t i = 1; i < all.n_parts(); ++i) {
      top = parts[i] > top ? parts[i] : top;
    }
    all.tops[row] = top;
  }
};

// The sums of each part's exponentials.
struct PartSumTask {
  LogitRows all;
  int64_t n_rows;  // all.n_rows * all.n_parts()
  int64_t n;       // all.n_tokens

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t at, int64_t /*step*/, int lane,
                               row_threads::LaneSums* sums) const {
    if constexpr (kPhase == 0) {
      const int64_t row = at / all.n_parts();
      const int64_t part = at % all.n_parts();
      sums->of_lanes[lane] =
          row_threads::LaneExpSum(all.logits + row * n + part * kPartTokens,
                                  all.PartTokens(part), all.tops[row], lane);
    } else if (lane == 0) {
      all.part_sums[at] = row_threads::FoldLanes(sums->of_lanes);
    }
  }
};

// What is known of a row in the end.
struct RowDraws {
  float top;
  float inverse;     // of `total`
  double total;      // of exp(logit - top)
  int32_t label;     // the first draw, where it was drawn
  float label_term;  // exp(logit - top) of a label that was drawn, else the
                     // given label's logit
  int32_t tokens[kDraws];
  float factors[kDraws];  // with the slope of the soft cap there
};

// y = cap * tanh(x / cap): the slope, from y.
NARROW_ROW_FUNCTION float CapSlope(float cap, float y) {
  const float ratio = y / cap;
  return 1.0f - ratio * ratio;
}

// Sums a row's parts, and draws where the label is below 0.
struct DrawTask {
  LogitRows all;
  int64_t n_rows;         // all.n_rows
  int64_t n;              // all.n_tokens
  const int32_t* labels;  // [n_rows]
  const int64_t* tokens;  // [n_rows], counted from `first_token`
  int64_t first_token;
  uint64_t seed;
  float soft_cap;
  RowDraws* draws;

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               row_threads::LaneSums* sums) const {
    RowDraws* const to = draws + row;
    if constexpr (kPhase == 0) {
      const double* const parts = all.part_sums + row * all.n_parts();
      double total = 0;
      for (int64_t i = 0; i < all.n_parts(); ++i) {
        total += parts[i];
      }
      sums->of_lanes[lane] = total;
      if (labels[row] < 0) {
        const double target =
            Uniform(SeedOfDraw(seed, lane), first_token + tokens[row]) * total;
        const int32_t drawn = Draw(n, parts, all.n_parts(), target,
                                   [&](int64_t i) { return all.Term(row, i); });
        const float factor =
            (lane % 2 == 0 ? -1.0f : 1.0f) / sqrtf(static_cast<float>(kDraws));
        to->tokens[lane] = drawn;
        to->factors[lane] =
            soft_cap > 0
                ? factor * CapSlope(soft_cap, all.logits[row * n + drawn])
                : factor;
      }
    } else if (lane == 0) {
      const bool drawn = labels[row] < 0;
      to->top = all.tops[row];
      to->total = sums->of_lanes[0];
      to->inverse = static_cast<float>(1.0 / to->total);
      to->label = drawn ? to->tokens[0] : labels[row];
      to->label_term =
          drawn ? all.Term(row, to->label) : all.logits[row * n + to->label];
    }
  }
};

// Logits become the gradients of -log p(label) there, before the soft cap.
struct LogitGradientTask {
  LogitRows all;
  const RowDraws* draws;
  float soft_cap;

  NARROW_ROW_FUNCTION int64_t n() const { return all.n_rows * all.n_tokens; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / all.n_tokens;
    const int64_t token = i - row * all.n_tokens;
    const RowDraws& its = draws[row];
    float value = all.Term(row, token) * its.inverse;
    if (token == its.label) {
      value -= 1.0f;
    }
    if (soft_cap > 0) {
      value *= CapSlope(soft_cap, all.logits[i]);
    }
    all.logits[i] = value;
  }
};

// Rows of the output matrix that were drawn, those of a slice of it, to
// `picked`.
struct PickDrawnTask {
  const RowDraws* draws;
  const float* weights;  // rows of tokens from first_token on
  int64_t first_token;
  int64_t n_tokens;
  int64_t n_rows;
  int64_t n_cols;
  float* picked;  // [n_rows, kDraws, n_cols]

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * kDraws * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t draw = i / n_cols;
    const int64_t at = draws[draw / kDraws].tokens[draw % kDraws] - first_token;
    if (at >= 0 && at < n_tokens) {
      picked[i] = weights[at * n_cols + (i - draw * n_cols)];
    }
  }
};

// out[r] = sum over the draws of factor * picked, in double.
struct AddDrawnTask {
  const RowDraws* draws;
  const float* picked;  // [n_rows, kDraws, n_cols]
  int64_t n_rows;
  int64_t n_cols;
  float* out;  // [n_rows, n_cols]

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / n_cols;
    const float* const from =
        picked + row * kDraws * n_cols + (i - row * n_cols);
    double sum = 0;
    for (int d = 0; d < kDraws; ++d) {
      sum += static_cast<double>(draws[row].factors[d]) *
             static_cast<double>(from[d * n_cols]);
    }
    out[i] = static_cast<float>(sum);
  }
};

// sums += products; and, with `out`, float32 of these.
struct WidenTask {
  const float* products;
  int64_t n_numbers;
  double* sums;
  float* out;  // or null

  NARROW_ROW_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    sums[i] += static_cast<double>(products[i]);
    if (out != nullptr) {
      out[i] = static_cast<float>(sums[i]);
    }
  }
};

}  // namespace gradient_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_THREADS_H_
