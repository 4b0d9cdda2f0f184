#include "validate/gate/sequential.h"

#include <cassert>
#include <cmath>

namespace narrow {
namespace {

constexpr int64_t kFirstLook = 16;
constexpr double kGrowth = 1.5;
// A last step of less is no look of its own: it would decide little, and take
// its share from the others.
constexpr double kLeastStep = 1.2;

double SpentBy(double share_of_text) {
  return std::log1p(std::expm1(1.0) * share_of_text);
}

}  // namespace

std::vector<Look> PlanLooks(int64_t n_windows, bool early_stop) {
  assert(n_windows > 0);
  std::vector<Look> looks;
  const double total = static_cast<double>(n_windows);
  double spent = 0;
  if (early_stop) {
    for (int64_t n = kFirstLook; static_cast<double>(n) * kLeastStep <= total;
         n = static_cast<int64_t>(
             std::ceil(static_cast<double>(n) * kGrowth))) {
      const double now = SpentBy(static_cast<double>(n) / total);
      looks.push_back({n, now - spent});
      spent = now;
    }
  }
  looks.push_back({n_windows, 1 - spent});
  return looks;
}

}  // namespace narrow
