// The passes of a transformer over rows, as a card's threads do them. The
// definitions are those of kernels/rows/rows.h, and so is every bit.
//
// Rows that are summed have kLanes threads, one for each of the running sums
// of the processor's kernels, and phases, as in kernels/quant/team. Other
// passes have a thread an element.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_

#include <cmath>
#include <cstdint>

#include "formats/base/elementary_exp.h"
#include "kernels/rows/device/row_math.h"

namespace narrow {
namespace row_threads {

inline constexpr int kRowThreads = 256;
inline constexpr int kRowsOfBlock = kRowThreads / kLanes;

// Of one row, shared by its threads.
struct LaneSums {
  double of_lanes[kLanes];
  float tops[kLanes];
  int32_t places[kLanes];
};

// A number to where the next kernel wants it; either may be nullptr.
struct Output {
  float* floats;
  uint16_t* halves;  // bfloat16
};
NARROW_ROW_FUNCTION void Put(const Output& out, int64_t i, float value) {
  if (out.floats != nullptr) {
    out.floats[i] = value;
  }
  if (out.halves != nullptr) {
    out.halves[i] = ToBf16(value);
  }
}

// out = x / sqrt(mean(x^2) + eps) * weight, by rows; out may be x. Row r begins
// at r * n; or, with n_heads, at r / n_heads * stride + r % n_heads * n.
struct NormTask {
  const float* x;
  const float* weight;
  int64_t n_rows;
  int64_t n;
  float eps;
  Output out;
  int64_t n_heads = 0;
  int64_t stride = 0;

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* sums) const {
    const int64_t first =
        n_heads == 0 ? row * n : row / n_heads * stride + row % n_heads * n;
    if constexpr (kPhase == 0) {
      double sum = 0;
      for (int64_t i = lane; i < n; i += kLanes) {
        const double wide = x[first + i];
        sum += wide * wide;
      }
      sums->of_lanes[lane] = sum;
    } else {
      const double mean = FoldLanes(sums->of_lanes) / static_cast<double>(n);
      const float factor =
          static_cast<float>(1.0 / sqrt(mean + static_cast<double>(eps)));
      for (int64_t i = lane; i < n; i += kLanes) {
        Put(out, first + i, (x[first + i] * factor) * weight[i]);
      }
    }
  }
};

// flags[row] = 1 where a row of n numbers, `stride` apart, has one that is not
// finite.
struct FiniteTask {
  const float* x;
  int64_t n_rows;
  int64_t n;
  int64_t stride;
  uint8_t* flags;

  static constexpr int kPhases = 1;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* /*sums*/) const {
    bool good = true;
    for (int64_t i = lane; i < n; i += kLanes) {
      const float value = x[row * stride + i];
      good = good && value - value == 0.0f;
    }
    if (!good) {
      flags[row] = 1;
    }
  }
};

// What is known of a row's logits so far.
struct RowScore {
  float top = -INFINITY;
  int32_t top_token = 0;
  double sum = 0;  // of exp(logit - top)
  float target_logit = 0;

  // Takes in terms with a maximum and a sum of their own; `token` is that of
  // the maximum and above all seen before.
  NARROW_ROW_FUNCTION void Merge(float other_top, int32_t token,
                                 double other_sum) {
    if (other_top > top) {
      sum *= ElementaryExp(static_cast<double>(top) - other_top);
      top = other_top;
      top_token = token;
      sum += other_sum;
    } else {
      // Equal infinities would give NaN, as they should.
      sum += other_sum * ElementaryExp(static_cast<double>(other_top) - top);
    }
  }
};

// Takes the logits of n tokens from first_token on into the rows' scores.
// Panels of `panel` tokens are merged into slices of `slice`, and these into
// the score. REQUIRES: `panel` divides `slice`, and `slice` first_token.
struct ScoreTask {
  const float* logits;  // [n_rows, n]
  const int32_t* targets;
  int64_t n_rows;
  int64_t n;
  int64_t first_token;
  int64_t panel;
  int64_t slice;
  RowScore* slices;  // [n_rows], room
  RowScore* scores;

  static constexpr int kPhases = 3;
  NARROW_ROW_FUNCTION int64_t n_steps() const {
    return (n + panel - 1) / panel;
  }

  // A step a panel.
  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t step, int lane,
                               LaneSums* sums) const {
    const int64_t first = step * panel;
    const int64_t n_here = n - first < panel ? n - first : panel;
    const float* its = logits + row * n + first;
    if constexpr (kPhase == 0) {
      float top = -INFINITY;
      int32_t place = 0;
      for (int64_t i = lane; i < n_here; i += kLanes) {
        if (its[i] > top) {
          top = its[i];
          place = static_cast<int32_t>(i);
        }
      }
      sums->tops[lane] = top;
      sums->places[lane] = place;
    } else if constexpr (kPhase == 1) {
      float top = sums->tops[0];
      for (int i = 1; i < kLanes; ++i) {
        top = sums->tops[i] > top ? sums->tops[i] : top;
      }
      sums->of_lanes[lane] = LaneExpSum(its, n_here, top, lane);
    } else if (lane == 0) {
      MergePanel(row, first, n_here, *sums);
    }
  }

 private:
  NARROW_ROW_FUNCTION void MergePanel(int64_t row, int64_t first,
                                      int64_t n_here,
                                      const LaneSums& sums) const {
    float top = sums.tops[0];
    int32_t place = sums.places[0];
    for (int i = 1; i < kLanes; ++i) {
      if (sums.tops[i] > top ||
          (sums.tops[i] == top && sums.places[i] < place)) {
        top = sums.tops[i];
        place = sums.places[i];
      }
    }
    const int64_t target = targets[row] - first_token - first;
    if (target >= 0 && target < n_here) {
      scores[row].target_logit = logits[row * n + first + target];
    }
    if (first % slice == 0) {
      slices[row] = RowScore();
    }
    slices[row].Merge(top, static_cast<int32_t>(first_token + first) + place,
                      FoldLanes(sums.of_lanes));
    const int64_t end = first + n_here;
    if (end == n || end % slice == 0) {
      scores[row].Merge(slices[row].top, slices[row].top_token,
                        slices[row].sum);
    }
  }
};

// The largest of a row's logits, its token (the lowest of equals), the sum of
// exp(logit - top), and the logit of the row's target: what ScoreLogits of
// validate/measures is made of.
struct SoftmaxTerms {
  float top;
  int32_t top_token;
  double sum;
  float target_logit;
};

struct SoftmaxTask {
  const float* logits;  // [n_rows, n], rows `stride` apart
  int64_t n_rows;
  int64_t n;
  int64_t stride;
  const int32_t* targets;  // [n_rows]; below 0 or not below n: none
  SoftmaxTerms* terms;     // [n_rows]

  static constexpr int kPhases = 3;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* sums) const {
    const float* its = logits + row * stride;
    if constexpr (kPhase == 0) {
      float top = -INFINITY;
      int32_t place = 0;
      for (int64_t i = lane; i < n; i += kLanes) {
        if (its[i] > top) {
          top = its[i];
          place = static_cast<int32_t>(i);
        }
      }
      sums->tops[lane] = top;
      sums->places[lane] = place;
    } else if constexpr (kPhase == 1) {
      float top = sums->tops[0];
      for (int i = 1; i < kLanes; ++i) {
        top = sums->tops[i] > top ? sums->tops[i] : top;
      }
      sums->of_lanes[lane] = LaneExpSum(its, n, top, lane);
    } else if (lane == 0) {
      SoftmaxTerms all = {sums->tops[0], sums->places[0], 0, 0};
      for (int i = 1; i < kLanes; ++i) {
        if (sums->tops[i] > all.top ||
            (sums->tops[i] == all.top && sums->places[i] < all.top_token)) {
          all.top = sums->tops[i];
          all.top_token = sums->places[i];
        }
      }
      all.sum = FoldLanes(sums->of_lanes);
      const int32_t target = targets[row];
      all.target_logit = target >= 0 && target < n ? its[target] : 0;
      terms[row] = all;
    }
  }
};

// sums[row] = sum over tokens of exp(p - p's top) * (p - q): the part of a
// divergence that needs both models' logits, in the sixteen chains of
// validate/measures/divergence.cc.
struct CrossTask {
  const float* p;
  const float* q;
  int64_t n_rows;
  int64_t n;
  int64_t p_stride;
  int64_t q_stride;
  const SoftmaxTerms* p_terms;  // over these tokens
  double* sums;

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* lanes) const {
    if constexpr (kPhase == 0) {
      const float* its_p = p + row * p_stride;
      const float* its_q = q + row * q_stride;
      const float top = p_terms[row].top;
      double sum = 0;
      for (int64_t i = lane; i < n; i += kLanes) {
        const float difference = its_p[i] - its_q[i];
        sum += static_cast<double>(ExpTerm(its_p[i], top, i, n)) *
               static_cast<double>(difference);
      }
      lanes->of_lanes[lane] = sum;
    } else if (lane == 0) {
      double sum = 0;
      for (int i = 0; i < kLanes; ++i) {
        sum += lanes->of_lanes[i];
      }
      sums[row] = sum;
    }
  }
};

enum class Gate { kSilu, kGelu };

// out = act(gate) * up.
struct GateTask {
  const float* gate;
  const float* up;
  Gate kind;
  int64_t n_numbers;
  Output out;

  NARROW_ROW_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    Put(out, i,
        kind == Gate::kSilu ? SiluTimes(gate[i], up[i])
                            : GeluTimes(gate[i], up[i]));
  }
};

// Rotates the first 2 * n_pairs numbers of every head of every token by the
// angles of the token's position: pairs (i, i + n_pairs), or (2i, 2i + 1).
struct RotateTask {
  float* x;              // token t, head h at x + t * stride + h * head_dim
  const float* cosines;  // [n_positions, n_pairs]
  const float* sines;
  int64_t n_tokens;
  int64_t n_heads;
  int64_t head_dim;
  int64_t stride;
  int64_t n_pairs;
  bool halves;
  int64_t n_positions;  // of a sequence; those of tokens follow each other

  NARROW_ROW_FUNCTION int64_t n() const { return n_tokens * n_heads * n_pairs; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t pair = i % n_pairs;
    const int64_t head = i / n_pairs % n_heads;
    const int64_t token = i / n_pairs / n_heads;
    const int64_t angle = token % n_positions * n_pairs + pair;
    const float c = cosines[angle];
    const float s = sines[angle];
    float* at = x + token * stride + head * head_dim;
    float* first = at + (halves ? pair : 2 * pair);
    float* second = first + (halves ? n_pairs : 1);
    const float a = *first;
    const float b = *second;
    *first = a * c - b * s;
    *second = a * s + b * c;
  }
};

// y = y * keep + x * scale, and capped: cap * tanh(y / cap), if cap > 0.
struct MixTask {
  const float* x;
  float scale;
  float keep;  // 0: y is not read
  float cap;
  int64_t n_numbers;
  float* y;

  NARROW_ROW_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const float value = keep != 0 ? y[i] * keep + x[i] * scale : x[i] * scale;
    y[i] = cap > 0 ? SoftCap(cap, value) : value;
  }
};

// x += bias, by rows `stride` apart.
struct BiasTask {
  const float* bias;  // [n_cols]
  int64_t n_rows;
  int64_t n_cols;
  int64_t stride;
  float* x;

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    x[i / n_cols * stride + i % n_cols] += bias[i % n_cols];
  }
};

// sums[j] += x[r, j] and squares[j] += x[r, j]^2, row after row.
struct ColumnsTask {
  const float* x;  // [n_rows, n_cols]
  int64_t n_rows;
  int64_t n_cols;
  double* sums;
  double* squares;

  NARROW_ROW_FUNCTION int64_t n() const { return n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t j) const {
    double sum = sums[j];
    double square = squares[j];
    for (int64_t r = 0; r < n_rows; ++r) {
      const double wide = x[r * n_cols + j];
      sum += wide;
      square += wide * wide;
    }
    sums[j] = sum;
    squares[j] = square;
  }
};

// What add_magnitudes of kernels/rows/rows.h computes of each column.
struct MagnitudesTask {
  const float* x;  // [n_rows, n_cols]
  int64_t n_rows;
  int64_t n_cols;
  const float* weights;  // [n_rows], or null
  double* squares;
  double* magnitudes;
  float* most;
  float* least;
  bool first;  // the extremes begin with these rows

  NARROW_ROW_FUNCTION int64_t n() const { return n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t j) const {
    double square = squares[j];
    double magnitude = magnitudes[j];
    float top = first ? x[j] : most[j];
    float bottom = first ? x[j] : least[j];
    for (int64_t r = 0; r < n_rows; ++r) {
      const float v = x[r * n_cols + j];
      const double wide = v;
      const double weight =
          weights == nullptr ? 1 : static_cast<double>(weights[r]);
      square += weight * (wide * wide);
      magnitude += weight * (wide < 0 ? -wide : wide);
      top = v > top ? v : top;
      bottom = v < bottom ? v : bottom;
    }
    squares[j] = square;
    magnitudes[j] = magnitude;
    most[j] = top;
    least[j] = bottom;
  }
};

// Some rows of a matrix, and what those of another, which are their partners,
// differ from them.
struct PickTask {
  const float* x;       // rows of n_cols
  const int64_t* rows;  // [n_rows], of x
  int64_t n_rows;
  int64_t n_cols;
  const float* partners;         // rows of n_cols; or null, as what follows
  const int64_t* partners_rows;  // [n_rows]; below 0: a row has none
  float* picked;                 // [n_rows, n_cols], or null
  float* others;       // the partner's rows, those of x without one; or null
  float* differences;  // partner - x, 0 without one; or null

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t r = i / n_cols;
    const int64_t j = i % n_cols;
    const float value = x[rows[r] * n_cols + j];
    if (picked != nullptr) {
      picked[i] = value;
    }
    if (partners == nullptr) {
      return;
    }
    const int64_t partner = partners_rows[r];
    const float other = partner < 0 ? value : partners[partner * n_cols + j];
    if (others != nullptr) {
      others[i] = other;
    }
    if (differences != nullptr) {
      differences[i] = partner < 0 ? 0.0f : other - value;
    }
  }
};

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_
