// What an importance matrix says of a model: how the inputs of each layer are
// distributed, and how they change from one layer to the next. The figures
// are those of llama-imatrix's --show-statistics.
//
//   ImportanceStatistics statistics = StatisticsOf(collection);
//   for (const TensorStatistics& t : statistics.tensors) ...
//
// Pure functions on plain values; sums in double, in the order of the file.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATISTICS_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATISTICS_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "calibration/importance/importance_sums.h"

namespace narrow {

inline constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();

// How the inputs differ from those one layer before. NaN: nothing to compare
// with, or no spread.
struct InputChange {
  double gain = kNoValue;      // ratio of root mean squares
  double distance = kNoValue;  // Euclidean, between the vectors of means
  double cosine = kNoValue;
  double pearson = kNoValue;
  double covariance = kNoValue;
};

// Of the columns' mean inputs E[x] where the file records them, else (older
// files) of their mean squares E[x^2]. Matrices without data do not count.
struct TensorStatistics {
  std::string tensor;
  int layer = -1;    // of "blk.N."; -1 outside blocks
  std::string part;  // "attn_q": the name without block and ".weight"
  bool has_means = false;
  int64_t n_columns = 0;  // with data, of all matrices
  int64_t n_matrices = 0;
  int64_t n_without_data = 0;
  double mean = 0;
  double deviation = 0;  // of the population
  double skewness = 0;
  double kurtosis = 0;  // excess: 0 for a normal distribution
  double energy = 0;    // sum of E[x^2]
  // Entropy of the columns' shares of the energy as a part of the most there
  // can be: 1 if all columns have the same; NaN for a single column.
  double entropy_share = kNoValue;
  InputChange change;
};

// All tensors of a layer together.
struct LayerStatistics {
  int layer = 0;
  int64_t n_columns = 0;
  double energy = 0;
  InputChange change;
};

struct ImportanceStatistics {
  std::vector<TensorStatistics> tensors;  // by layer, those outside last
  std::vector<LayerStatistics> layers;    // rising; only those there are
  bool all_have_means = true;
};

// Tensors without any data are left out.
ImportanceStatistics StatisticsOf(const ImportanceCollection& collection);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATISTICS_H_
