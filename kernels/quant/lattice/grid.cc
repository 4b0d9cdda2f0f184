#include "kernels/quant/lattice/grid.h"

#include <vector>

namespace narrow {
namespace {

// The levels of numbers[0 … n_points), one after the other.
std::vector<uint8_t> Spread(const uint16_t* numbers, int n_points, int dim,
                            int n_levels) {
  std::vector<uint8_t> levels;
  levels.reserve(n_points * dim);
  for (int p = 0; p < n_points; ++p) {
    int number = numbers[p];
    for (int i = 0; i < dim; ++i, number /= n_levels) {
      levels.push_back(static_cast<uint8_t>(number % n_levels));
    }
  }
  return levels;
}

}  // namespace

#define NARROW_GRID(name, dim, n_levels, n_points, ...)               \
  const Grid& name##Grid() {                                          \
    static constexpr uint16_t kNumbers[n_points] = {__VA_ARGS__};     \
    static const std::vector<uint8_t>& levels =                       \
        *new auto(Spread(kNumbers, n_points, dim, n_levels));         \
    static const Grid grid = {dim, n_levels, n_points, levels.data(), \
                              kNumbers};                              \
    return grid;                                                      \
  }
#include "kernels/quant/lattice/grids.inc"
#undef NARROW_GRID

}  // namespace narrow
