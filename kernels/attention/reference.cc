#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/attention.h"

namespace narrow {

void AttendReference(const AttentionShape& shape, const float* q,
                     const float* k, const float* v, float* out) {
  const int64_t d = shape.head_dim;
  for (int64_t t = 0; t < shape.n_tokens; ++t) {
    const int64_t first =
        shape.window > 0 ? std::max<int64_t>(0, t - shape.window + 1) : 0;
    std::vector<double> scores;
    for (int64_t s = first; s <= t; ++s) {
      double dot = 0;
      for (int64_t i = 0; i < d; ++i) {
        dot += static_cast<double>(q[t * d + i]) * k[s * d + i];
      }
      dot *= shape.scale;
      if (shape.soft_cap > 0) {
        dot = shape.soft_cap * std::tanh(dot / shape.soft_cap);
      }
      scores.push_back(dot);
    }
    const double top = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) {
      score = std::exp(score - top);
      total += score;
    }
    for (int64_t i = 0; i < d; ++i) {
      double sum = 0;
      for (int64_t s = first; s <= t; ++s) {
        sum += scores[static_cast<size_t>(s - first)] * v[s * d + i];
      }
      out[t * d + i] = static_cast<float>(sum / total);
    }
  }
}

}  // namespace narrow
