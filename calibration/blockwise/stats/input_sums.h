// Sums over the rows of one input, and rows kept out of them.
//
//   InputSums sums(n_cols, residual_cols, of_expert, weighted, needs);
//   const RowPlaces to = sums.MakeRoom(n);       // n <= sums.room()
//   ... fill what is not nullptr with n rows ...
//   sums.Added(n, &pool);
//   LayerStats stats = sums.Finish(&pool);       // once
//
// Rows are gathered into whole blocks of kGramBlockRows before they are added,
// so that calls do not move the borders of sums. Belongs to one thread, and
// uses the pool's.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_SUMS_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_SUMS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "kernels/linalg/gram.h"

namespace narrow {

// Rows gathered before they are added: a large matrix of sums is then read
// and written less often. Of an expert fewer, as there may be hundreds.
inline constexpr int64_t kGatheredRows = 4 * kGramBlockRows;
inline constexpr int64_t kGatheredExpertRows = kGramBlockRows;

// Where rows go; nullptr: nowhere.
struct RowPlaces {
  float* inputs = nullptr;     // z
  float* originals = nullptr;  // x
  float* drifts = nullptr;     // x - z
  float* residuals = nullptr;  // r - s
  float* weights = nullptr;    // one a row
};

// Of the largest and the smallest value of each column; without any, no value
// has been seen.
void SetExtremes(const std::vector<float>& most,
                 const std::vector<float>& least, LayerStats* stats);

class InputSums {
 public:
  // residual_cols 0: no sums of residuals. Without `weighted` rows count 1.
  InputSums(int64_t n_cols, int64_t residual_cols, bool of_expert,
            bool weighted, const StatsNeeds& needs);

  // Rows that may be put at the end before Added must be called.
  int64_t room() const { return max_gathered_ - n_gathered_; }
  // Where rows [0, n) after those gathered go. REQUIRES: n <= room().
  RowPlaces MakeRoom(int64_t n);
  void Added(int64_t n, ThreadPool* pool);
  // Rows of which nothing else is asked may be added where they lie, n a
  // multiple of kGramBlockRows, while what is gathered is whole blocks.
  bool takes_whole() const {
    return !weighted_ && !needs_.original() &&
           n_gathered_ % kGramBlockRows == 0;
  }
  void AddWhole(const float* rows, int64_t n, ThreadPool* pool);
  // Where n more rows go that are held out. REQUIRES: they are filled.
  RowPlaces MakeHeldOutRoom(int64_t n);

  // Nothing is left in the sums.
  LayerStats Finish(ThreadPool* pool);

 private:
  float* Grow(int64_t n, int64_t n_cols, std::vector<float>* to) const;
  void Flush(ThreadPool* pool);
  void AddRows(const float* rows, int64_t n, ThreadPool* pool);

  const StatsNeeds needs_;
  const int64_t residual_cols_;
  const bool weighted_;
  const int64_t max_gathered_;
  LayerStats stats_;
  std::shared_ptr<HeldOutRows> held_out_;
  std::vector<float> most_, least_;  // of each column
  // n_gathered_ rows, and room for more.
  std::vector<float> rows_, drifts_, residuals_, weights_;
  int64_t n_gathered_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATS_INPUT_SUMS_H_
