#include "calibration/importance/importance_statistics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace narrow {
namespace {

// Below this, shares of the energy add nothing to the entropy, and energies
// are no ground for a ratio.
constexpr double kLeastShare = 1e-10;

// A greater number is no layer's.
constexpr int kMaxLayers = 1 << 20;

// Calls body(column, mean square, mean) for the columns of matrices with
// data; the mean is 0 where it is not recorded.
template <typename Body>
void ForEachColumn(const ImportanceSums& sums, const Body& body) {
  for (int64_t m = 0; m < sums.n_matrices; ++m) {
    const auto count = static_cast<double>(sums.counts[m]);
    if (count <= 0) {
      continue;
    }
    for (int64_t i = m * sums.n_cols; i < (m + 1) * sums.n_cols; ++i) {
      body(i, sums.sum_sq[i] / count,
           sums.sum.empty() ? 0.0 : sums.sum[i] / count);
    }
  }
}

// "blk.12.attn_q.weight" to 12 and "attn_q".
void SplitName(absl::string_view name, int* layer, std::string* part) {
  *layer = -1;
  if (absl::ConsumePrefix(&name, "blk.")) {
    const size_t dot = name.find('.');
    if (dot != absl::string_view::npos &&
        absl::SimpleAtoi(name.substr(0, dot), layer) && *layer >= 0 &&
        *layer < kMaxLayers) {
      name.remove_prefix(dot + 1);
    } else {
      *layer = -1;
    }
  }
  *part = std::string(absl::StripSuffix(name, ".weight"));
}

// Sums that give an InputChange; those of a layer are its tensors' added up.
struct ChangeSums {
  double dot = 0, norm = 0, norm_before = 0, distance = 0;
  double covariance = 0, variance = 0, variance_before = 0;
  int64_t n = 0;
  double energy = 0, energy_before = 0;
  int64_t n_energy = 0, n_energy_before = 0;

  void Add(const ChangeSums& other) {
    dot += other.dot;
    norm += other.norm;
    norm_before += other.norm_before;
    distance += other.distance;
    covariance += other.covariance;
    variance += other.variance;
    variance_before += other.variance_before;
    n += other.n;
    energy += other.energy;
    energy_before += other.energy_before;
    n_energy += other.n_energy;
    n_energy_before += other.n_energy_before;
  }
};

// product / (a b) as a correlation; 0 if only one of a and b is 0.
double Correlation(double product, double a_sq, double b_sq) {
  if (a_sq > 0 && b_sq > 0) {
    return std::clamp(product / (std::sqrt(a_sq) * std::sqrt(b_sq)), -1.0, 1.0);
  }
  return a_sq == 0 && b_sq == 0 ? kNoValue : 0.0;
}

InputChange ChangeOf(const ChangeSums& sums) {
  InputChange change;
  if (sums.n == 0) {
    return change;
  }
  change.distance = std::sqrt(sums.distance);
  change.cosine = Correlation(sums.dot, sums.norm, sums.norm_before);
  change.pearson =
      Correlation(sums.covariance, sums.variance, sums.variance_before);
  if (sums.n > 1) {
    change.covariance = sums.covariance / static_cast<double>(sums.n);
  }
  if (sums.energy_before > kLeastShare) {
    change.gain = std::sqrt(sums.energy / static_cast<double>(sums.n_energy)) /
                  std::sqrt(sums.energy_before /
                            static_cast<double>(sums.n_energy_before));
  } else if (sums.energy <= kLeastShare) {
    change.gain = 1;
  }
  return change;
}

// The vector that is compared: means, or mean squares; NaN without data.
std::vector<double> Profile(const ImportanceSums& sums, bool of_means) {
  std::vector<double> profile(sums.sum_sq.size(), kNoValue);
  ForEachColumn(sums, [&](int64_t i, double square, double mean) {
    profile[i] = of_means ? mean : square;
  });
  return profile;
}

// Of one tensor against the same one of an earlier layer; nothing if they
// differ in size.
ChangeSums CompareInputs(const ImportanceSums& now, const ImportanceSums& old) {
  ChangeSums sums;
  const bool of_means = !now.sum.empty() && !old.sum.empty();
  const std::vector<double> a = Profile(now, of_means);
  const std::vector<double> b = Profile(old, of_means);
  if (a.size() != b.size()) {
    return sums;
  }
  double total_a = 0;
  double total_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(a[i]) && std::isfinite(b[i])) {
      total_a += a[i];
      total_b += b[i];
      ++sums.n;
    }
  }
  if (sums.n == 0) {
    return sums;
  }
  const double mean_a = total_a / static_cast<double>(sums.n);
  const double mean_b = total_b / static_cast<double>(sums.n);
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      continue;
    }
    sums.dot += a[i] * b[i];
    sums.norm += a[i] * a[i];
    sums.norm_before += b[i] * b[i];
    sums.distance += (a[i] - b[i]) * (a[i] - b[i]);
    sums.covariance += (a[i] - mean_a) * (b[i] - mean_b);
    sums.variance += (a[i] - mean_a) * (a[i] - mean_a);
    sums.variance_before += (b[i] - mean_b) * (b[i] - mean_b);
  }
  ForEachColumn(now, [&](int64_t, double square, double) {
    sums.energy += square;
    ++sums.n_energy;
  });
  ForEachColumn(old, [&](int64_t, double square, double) {
    sums.energy_before += square;
    ++sums.n_energy_before;
  });
  return sums;
}

// Where the tensor of a part and a layer is.
using LayerIndex = std::map<std::pair<std::string, int>, const ImportanceSums*>;

// The same part in the nearest layer before that has it, or nullptr.
const ImportanceSums* FindBefore(const LayerIndex& index,
                                 const std::string& part, int layer) {
  auto at = index.lower_bound({part, layer});
  if (at == index.begin()) {
    return nullptr;
  }
  --at;
  return at->first.first == part ? at->second : nullptr;
}

// The moments and the entropy; false if there is no data.
bool Describe(const ImportanceSums& sums, TensorStatistics* out) {
  out->has_means = !sums.sum.empty();
  out->n_matrices = sums.n_matrices;
  out->n_without_data = static_cast<int64_t>(
      std::count(sums.counts.begin(), sums.counts.end(), 0));
  double total = 0;
  ForEachColumn(sums, [&](int64_t, double square, double mean) {
    ++out->n_columns;
    out->energy += square;
    total += out->has_means ? mean : square;
  });
  if (out->n_columns == 0) {
    return false;
  }
  const auto n = static_cast<double>(out->n_columns);
  out->mean = total / n;
  double second = 0;
  double third = 0;
  double fourth = 0;
  double entropy = 0;
  ForEachColumn(sums, [&](int64_t, double square, double mean) {
    const double away = (out->has_means ? mean : square) - out->mean;
    second += away * away / n;
    third += away * away * away / n;
    fourth += away * away * away * away / n;
    const double share = out->energy > 0 ? square / out->energy : 0;
    if (share > kLeastShare) {
      entropy -= share * std::log2(share);
    }
  });
  out->deviation = std::sqrt(second);
  if (out->deviation > kLeastShare) {
    out->skewness = third / (second * out->deviation);
    out->kurtosis = fourth / (second * second) - 3;
  }
  if (out->n_columns > 1) {
    out->entropy_share = entropy / std::log2(n);
  }
  return true;
}

}  // namespace

ImportanceStatistics StatisticsOf(const ImportanceCollection& collection) {
  ImportanceStatistics result;
  std::map<int, std::pair<LayerStatistics, ChangeSums>> layers;
  LayerIndex index;
  for (const auto& [name, sums] : collection.entries) {
    int layer;
    std::string part;
    SplitName(name, &layer, &part);
    if (layer >= 0) {
      index.emplace(std::make_pair(part, layer), &sums);
    }
  }
  for (const auto& [name, sums] : collection.entries) {
    TensorStatistics tensor;
    tensor.tensor = name;
    SplitName(name, &tensor.layer, &tensor.part);
    if (!Describe(sums, &tensor)) {
      continue;
    }
    result.all_have_means = result.all_have_means && tensor.has_means;
    if (tensor.layer >= 0) {
      auto& [layer, change] = layers[tensor.layer];
      layer.layer = tensor.layer;
      layer.n_columns += tensor.n_columns;
      layer.energy += tensor.energy;
      const ImportanceSums* before =
          FindBefore(index, tensor.part, tensor.layer);
      if (before != nullptr) {
        const ChangeSums compared = CompareInputs(sums, *before);
        tensor.change = ChangeOf(compared);
        change.Add(compared);
      }
    }
    result.tensors.push_back(std::move(tensor));
  }
  std::sort(result.tensors.begin(), result.tensors.end(),
            [](const TensorStatistics& a, const TensorStatistics& b) {
              return std::make_tuple(a.layer < 0, a.layer, a.part) <
                     std::make_tuple(b.layer < 0, b.layer, b.part);
            });
  for (auto& [number, layer] : layers) {
    layer.first.change = ChangeOf(layer.second);
    result.layers.push_back(layer.first);
  }
  return result;
}

}  // namespace narrow
