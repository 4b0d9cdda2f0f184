// What was seen at the input of a linear layer, as calibrated solvers use it.
//
//   const LayerStats* s = stats.Find("blk.0.ffn_down.weight", /*expert=*/-1);
//   s->n_rows; s->gram[i * s->n_cols + j]; s->max_abs[j]; s->MeanSquare(j);
//
// Sums over rows (tokens) in a fixed order, each row times its weight where
// tokens have weights (token_weights.h). Layers fed by one input share one
// LayerStats, unless their tokens' weights differ. Plain values.

#ifndef NARROW_CALIBRATION_BLOCKWISE_LAYER_STATS_H_
#define NARROW_CALIBRATION_BLOCKWISE_LAYER_STATS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

// What to gather; a solver says what it needs.
struct StatsNeeds {
  bool columns = false;  // sum_sq, sum_abs, max_abs
  bool gram = false;     // X^T X (and the columns)
  // Sum of (x - z)^T z, where x is the input in the original model and z that
  // in the quantized one; for corrections of the drift.
  bool cross = false;
  // Sum of (r - s) z^T for layers whose output is added, as it is, to the
  // residual stream; r and s are that stream just before, in the original and
  // in the quantized model. Other layers have none: those behind which a norm
  // or a factor stands (all of a family with post-norms), those that write
  // elsewhere, and experts, as their outputs are weighted. Where attention and
  // feed-forward part would run side by side there would be none either: r - s
  // is then not what one of the two alone can make up for.
  bool residual = false;

  bool any() const { return columns || gram || cross || residual; }
  // Whether the original model has to run beside the quantized one.
  bool original() const { return cross || residual; }
};

// Rows of tokens that are kept out of the sums, as they are, so that what was
// fitted to the sums can be judged: |W x - Q z|^2 summed over them, times
// weights[r].
struct HeldOutRows {
  int64_t n_rows = 0;
  std::vector<float> inputs;     // z, [n_rows, n_cols]
  std::vector<float> originals;  // x, likewise; with needs.cross, or empty
  std::vector<float> residual;   // r - s, [n_rows, hidden]; as LayerStats'
  std::vector<float> weights;    // [n_rows], 1 without token weights
};

struct LayerStats {
  int64_t n_cols = 0;
  int64_t n_rows = 0;                  // tokens that counted
  double weight = 0;                   // sum of their weights; n_rows without
  std::vector<double> sum_sq;          // [n_cols]
  std::vector<double> sum_abs;         // [n_cols]
  std::vector<float> max_abs;          // [n_cols]
  float max_value = 0, min_value = 0;  // over all columns
  std::vector<double> gram;            // [n_cols, n_cols], symmetric; or empty
  std::vector<double> cross;           // [n_cols, n_cols]; or empty
  std::vector<double> residual;        // [hidden, n_cols]; or empty
  // Where samples are held out (observe_request.h); or nullptr.
  std::shared_ptr<const HeldOutRows> held_out;
  // An expert with few rows of its own: the share of the layer's common
  // statistics (of all its experts' rows) that went into these; 0: none, 1:
  // all, as it had no rows. n_rows is that of the expert itself; sums are
  // scaled to as many rows (their weight), to one if there were none
  // (stats_collector.h).
  double shrinkage = 0;

  // What sums are divided by for means.
  double divisor() const {
    return weight > 0 ? weight : static_cast<double>(n_rows > 0 ? n_rows : 1);
  }
  double MeanSquare(int64_t col) const {
    return sum_sq[static_cast<size_t>(col)] / divisor();
  }
};

// Of one block, by GGUF tensor name and expert (-1: dense).
struct BlockStats {
  std::map<std::pair<std::string, int>, std::shared_ptr<const LayerStats>>
      layers;

  const LayerStats* Find(absl::string_view name, int expert) const {
    const auto it = layers.find({std::string(name), expert});
    return it == layers.end() ? nullptr : it->second.get();
  }
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_LAYER_STATS_H_
