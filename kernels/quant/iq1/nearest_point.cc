#include "kernels/quant/iq1/nearest_point.h"

#include <cmath>

#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/lattice/grid.h"

namespace narrow {
namespace iq1 {
namespace {

// Errors of four coordinates for each of the 81 combinations of their levels;
// error[i][level] of coordinate i.
void AddUp(const double (*error)[3], double* sums) {
  for (int number = 0; number < 81; ++number) {
    int left = number;
    double sum = 0;
    for (int i = 0; i < kOctet / 2; ++i, left /= 3) {
      sum += error[i][left % 3];
    }
    sums[number] = sum;
  }
}

}  // namespace

int NearestPoint(const double (*error)[3]) {
  double low[81];
  double high[81];
  AddUp(error, low);
  AddUp(error + kOctet / 2, high);
  const Grid& grid = Iq1Grid();
  int best = 0;
  double least = INFINITY;
  for (int p = 0; p < grid.n_points; ++p) {
    const double sum = low[grid.numbers[p] % 81] + high[grid.numbers[p] / 81];
    if (sum < least) {
      least = sum;
      best = p;
    }
  }
  return best;
}

}  // namespace iq1
}  // namespace narrow
