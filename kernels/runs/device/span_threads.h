// Rows, rectangles and whole matrices under one scale each ("spans"), as the
// work of threads: what converter/solvers/runs/run_scales.cc does.
//
// A span is cut into pieces of at most kMaxRun weights of a row. A team of
// sixteen threads measures a piece under one scale: thread k sums the places
// k, k + 16, ... in float32, and the first thread folds the sixteen sums in
// double; between the two all threads wait. Sums of pieces are added in the
// processor's order: 64 of them, then those.
//
// Tested by device_runs_test.

#ifndef NARROW_KERNELS_RUNS_DEVICE_SPAN_THREADS_H_
#define NARROW_KERNELS_RUNS_DEVICE_SPAN_THREADS_H_

#include <cstdint>

#include "kernels/runs/run_lanes.h"
#include "kernels/simd/legal_scale.h"

namespace narrow {
namespace run_threads {

inline constexpr int kTeam = 16;
inline constexpr int64_t kPartPieces = 64;
inline constexpr int kMostScales = 16;

// How some rows of a matrix are cut into spans: `height` rows (the last ones
// may be fewer) and `width` columns (the same).
struct Spans {
  int64_t n_rows;
  int64_t n_cols;
  int64_t height;
  int64_t width;

  NARROW_LANE_FUNCTION int64_t across() const {
    return (n_cols + width - 1) / width;
  }
  NARROW_LANE_FUNCTION int64_t n() const {
    return (n_rows + height - 1) / height * across();
  }
  NARROW_LANE_FUNCTION int64_t FirstColumn(int64_t span) const {
    return span % across() * width;
  }
  NARROW_LANE_FUNCTION int64_t NumColumns(int64_t span) const {
    const int64_t left = n_cols - FirstColumn(span);
    return left < width ? left : width;
  }
  NARROW_LANE_FUNCTION int64_t PiecesOfRow(int64_t span) const {
    return (NumColumns(span) + kMaxRun - 1) / kMaxRun;
  }
  NARROW_LANE_FUNCTION int64_t NumPieces(int64_t span) const {
    const int64_t left = n_rows - span / across() * height;
    return (left < height ? left : height) * PiecesOfRow(span);
  }
  // Places for pieces and parts of every span.
  NARROW_LANE_FUNCTION int64_t most_pieces() const {
    return height * ((width + kMaxRun - 1) / kMaxRun);
  }
  NARROW_LANE_FUNCTION int64_t most_parts() const {
    return (most_pieces() + kPartPieces - 1) / kPartPieces;
  }
};

// Consecutive weights: where they begin in the rows, and their column.
struct Piece {
  NARROW_LANE_FUNCTION Piece(const Spans& spans, int64_t span, int64_t piece) {
    const int64_t of_row = spans.PiecesOfRow(span);
    const int64_t within = piece % of_row * kMaxRun;
    const int64_t row = span / spans.across() * spans.height + piece / of_row;
    column = spans.FirstColumn(span) + within;
    first = row * spans.n_cols + column;
    const int64_t left = spans.NumColumns(span) - within;
    n = left < kMaxRun ? left : kMaxRun;
  }
  int64_t first;
  int64_t column;
  int64_t n;
};

// In double, over a piece, a part or a span.
struct Sums {
  double error;
  double product;
  double square;

  NARROW_LANE_FUNCTION void Add(const Sums& other) {
    error += other.error;
    product += other.product;
    square += other.square;
  }
};

// The largest magnitude of each piece.
struct TopTask {
  static constexpr bool kGrids = false;
  using Partial = float;
  Spans spans;
  const float* weights;
  float* tops;  // [spans, most_pieces]

  NARROW_LANE_FUNCTION int64_t n_teams() const {
    return spans.n() * spans.most_pieces();
  }
  NARROW_LANE_FUNCTION bool Exists(int64_t team) const {
    return team % spans.most_pieces() <
           spans.NumPieces(team / spans.most_pieces());
  }
  NARROW_LANE_FUNCTION Partial Lane(int64_t team, int lane) const {
    const Piece piece(spans, team / spans.most_pieces(),
                      team % spans.most_pieces());
    float top = 0;
    for (int64_t i = lane; i < piece.n; i += kTeam) {
      top = run_lanes::Max(run_lanes::Abs(weights[piece.first + i]), top);
    }
    return top;
  }
  NARROW_LANE_FUNCTION void Fold(int64_t team, const Partial* lanes) const {
    float top = 0;
    for (int k = 0; k < kTeam; ++k) {
      top = run_lanes::Max(lanes[k], top);
    }
    tops[team] = top;
  }
};

// What is known of a span's scale.
struct SpanState {
  float scale;
  float top;
  double before;  // error under the peers' scale
  Sums least;
};

// The peers' scale of every span, and the others to try.
struct BeginTask {
  static constexpr bool kGrids = false;
  Spans spans;
  one_lane::StoredScale stored;
  float over;  // the peers' scale is the largest magnitude over this
  int n_scales;
  float factors[kMostScales];  // [n_scales], the first is 1
  const float* tops;
  SpanState* states;
  float* trials;  // [spans, n_scales]

  NARROW_LANE_FUNCTION int64_t n() const { return spans.n(); }
  NARROW_LANE_FUNCTION void Run(int64_t span) const {
    const int64_t n_pieces = spans.NumPieces(span);
    float top = 0;
    for (int64_t p = 0; p < n_pieces; ++p) {
      top = run_lanes::Max(tops[span * spans.most_pieces() + p], top);
    }
    const float whole = top / over;
    for (int c = 0; c < n_scales; ++c) {
      const float scale = top > 0
                              ? one_lane::LegalScale(
                                    stored, c == 0 ? whole : whole * factors[c])
                              : 1.0f;
      trials[span * n_scales + c] = scale;
    }
    states[span].top = top;
  }
};

// Sums of every piece under every trial, 0 leaving out a span.
struct MeasureTask {
  static constexpr bool kGrids = true;
  struct Partial {
    float error;
    float product;
    float square;
  };
  Spans spans;
  RunGrid grid;
  float unit;  // what a stored scale is multiplied with
  int n_scales;
  const float* trials;      // [spans, n_scales]
  const float* weights;     // rows
  const float* importance;  // [n_cols], or null
  Sums* sums;               // [spans, most_pieces, n_scales]

  // Teams of one piece are neighbours.
  NARROW_LANE_FUNCTION int64_t n_teams() const {
    return spans.n() * spans.most_pieces() * n_scales;
  }
  NARROW_LANE_FUNCTION int64_t SpanOf(int64_t team) const {
    return team / n_scales / spans.most_pieces();
  }
  NARROW_LANE_FUNCTION float TrialOf(int64_t team) const {
    return trials[SpanOf(team) * n_scales + team % n_scales];
  }
  NARROW_LANE_FUNCTION bool Exists(int64_t team) const {
    return team / n_scales % spans.most_pieces() <
               spans.NumPieces(SpanOf(team)) &&
           TrialOf(team) != 0;
  }
  template <class Grid>
  NARROW_LANE_FUNCTION Partial Lane(int64_t team, int lane) const {
    const Piece piece(spans, SpanOf(team),
                      team / n_scales % spans.most_pieces());
    const float scale = TrialOf(team) * unit;
    const float inverse = 1.0f / scale;
    const Grid typed(grid);
    Partial sum = {0, 0, 0};
    for (int64_t i = lane; i < piece.n; i += kTeam) {
      const float x = weights[piece.first + i];
      if (importance != nullptr) {
        run_lanes::AddToSums<true>(typed, x, importance[piece.column + i],
                                   inverse, scale, &sum.error, &sum.product,
                                   &sum.square);
      } else {
        run_lanes::AddToSums<false>(typed, x, 1.0f, inverse, scale, &sum.error,
                                    &sum.product, &sum.square);
      }
    }
    return sum;
  }
  NARROW_LANE_FUNCTION void Fold(int64_t team, const Partial* lanes) const {
    Sums* const to = sums + team;
    to->error = Folded(lanes, &Partial::error);
    to->product = Folded(lanes, &Partial::product);
    to->square = Folded(lanes, &Partial::square);
  }

 private:
  NARROW_LANE_FUNCTION static double Folded(const Partial* lanes,
                                            float Partial::*member) {
    double s[8];
    for (int i = 0; i < 8; ++i) {
      s[i] = static_cast<double>(lanes[i].*member) +
             static_cast<double>(lanes[i + 8].*member);
    }
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
  }
};

// Sums of kPartPieces pieces, where they were measured.
struct SumPartsTask {
  static constexpr bool kGrids = false;
  Spans spans;
  int n_scales;
  const float* trials;
  const Sums* sums;
  Sums* parts;  // [spans, most_parts, n_scales]

  NARROW_LANE_FUNCTION int64_t n() const {
    return spans.n() * spans.most_parts() * n_scales;
  }
  NARROW_LANE_FUNCTION void Run(int64_t i) const {
    const int64_t part = i / n_scales % spans.most_parts();
    const int64_t span = i / n_scales / spans.most_parts();
    if (trials[span * n_scales + i % n_scales] == 0) {
      return;
    }
    const int64_t n_pieces = spans.NumPieces(span);
    Sums sum = {0, 0, 0};
    for (int64_t p = part * kPartPieces;
         p < n_pieces && p < (part + 1) * kPartPieces; ++p) {
      sum.Add(sums[(span * spans.most_pieces() + p) * n_scales + i % n_scales]);
    }
    parts[i] = sum;
  }
};

// Takes the best of the trials that were measured, and thinks of the next one:
// the least-squares scale of the present codes. The first time all scales of
// BeginTask stand to choose, later the one trial.
struct JudgeTask {
  static constexpr bool kGrids = false;
  Spans spans;
  one_lane::StoredScale stored;
  float unit;
  int n_scales;
  bool is_first;
  bool is_last;  // no other trial
  const Sums* parts;
  const float* trials;  // [spans, n_scales]
  float* next;          // [spans]: to be measured now; 0: no more
  SpanState* states;

  NARROW_LANE_FUNCTION int64_t n() const { return spans.n(); }
  NARROW_LANE_FUNCTION void Run(int64_t span) const {
    SpanState state = states[span];
    if (is_first) {
      state.scale = trials[span * n_scales];
      state.least = Total(span, 0);
      state.before = state.least.error;
    }
    bool goes_on = is_first;
    for (int c = is_first ? 1 : 0; c < n_scales; ++c) {
      const float trial = trials[span * n_scales + c];
      if (trial == 0 || trial == state.scale) {
        continue;
      }
      const Sums sums = Total(span, c);
      if (sums.error < state.least.error) {
        state.scale = trial;
        state.least = sums;
        goes_on = true;
      }
    }
    float next_trial = 0;
    if (goes_on && !is_last && state.top > 0 && state.least.product > 0) {
      const float fitted = static_cast<float>(
          state.least.product / state.least.square / static_cast<double>(unit));
      const float trial = one_lane::LegalScale(stored, fitted);
      next_trial = trial == state.scale ? 0.0f : trial;
    }
    next[span] = next_trial;
    states[span] = state;
  }

 private:
  NARROW_LANE_FUNCTION Sums Total(int64_t span, int c) const {
    const int64_t n_parts =
        (spans.NumPieces(span) + kPartPieces - 1) / kPartPieces;
    Sums total = {0, 0, 0};
    for (int64_t p = 0; p < n_parts; ++p) {
      total.Add(parts[(span * spans.most_parts() + p) * n_scales + c]);
    }
    return total;
  }
};

// Codes, a weight a thread.
struct RoundSpansTask {
  static constexpr bool kGrids = true;
  Spans spans;
  RunGrid grid;
  bool divides;  // by scale * unit; else times inverse_unit over it
  float unit;
  float inverse_unit;
  const SpanState* states;
  const float* weights;
  uint8_t* codes;

  NARROW_LANE_FUNCTION int64_t n() const { return spans.n_rows * spans.n_cols; }

  template <class Grid>
  NARROW_LANE_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / spans.n_cols;
    const int64_t column = i % spans.n_cols;
    const float scale =
        states[row / spans.height * spans.across() + column / spans.width]
            .scale;
    const float y = divides ? weights[i] / (scale * unit)
                            : weights[i] * (1.0f / scale * inverse_unit);
    codes[i] = static_cast<uint8_t>(Grid(grid).Code(y));
  }
};

// Sums over rows of importance times the squared difference to `values`, in
// double, in the order of columns: Energy and SquaredError of
// converter/solvers/solver_inputs.h.
struct SquaresTask {
  static constexpr bool kGrids = false;
  int64_t n_rows;
  int64_t n_cols;
  const float* weights;
  const float* values;      // or null: 0
  const float* importance;  // [n_cols], or null: 1
  double* sums;             // [n_rows]

  NARROW_LANE_FUNCTION int64_t n() const { return n_rows; }
  NARROW_LANE_FUNCTION void Run(int64_t row) const {
    const int64_t first = row * n_cols;
    double sum = 0;
    for (int64_t j = 0; j < n_cols; ++j) {
      double miss = static_cast<double>(weights[first + j]);
      if (values != nullptr) {
        miss -= static_cast<double>(values[first + j]);
      }
      const double square = miss * miss;
      sum += importance == nullptr
                 ? square
                 : square * static_cast<double>(importance[j]);
    }
    sums[row] = sum;
  }
};

}  // namespace run_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_SPAN_THREADS_H_
