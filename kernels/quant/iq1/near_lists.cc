#include "kernels/quant/iq1/near_lists.h"

#include <vector>

#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace iq1 {
namespace {

struct Tables {
  Tables() {
    const GridIndex& index = Iq1Index();
    const Grid& grid = *index.grid;
    for (int p = 0; p < grid.n_points; ++p) {
      int32_t packed = 0;
      for (int i = 0; i < kOctet; ++i) {
        packed |= grid.levels[kOctet * p + i] << (2 * i);
      }
      point_levels.push_back(packed);
    }
    levels.reserve(index.n_lists_words * 3 / 2);
    for (int e = 0; e < index.n_entries; ++e) {
      const int32_t entry = index.entries[e];
      if (entry >= 0) {
        entries.push_back({entry, 0, 0, 0});
        continue;
      }
      const uint16_t* list = index.lists + ~entry;
      const int n_near = CountNear(grid, e, list);
      entries.push_back({static_cast<int32_t>(levels.size()), 0, 0, 0});
      entries.back().n = Append(list + 1, n_near);
    }
    // Apart, so that what is read often lies together.
    for (int e = 0; e < index.n_entries; ++e) {
      if (entries[e].n > 0) {
        const uint16_t* list = index.lists + ~index.entries[e];
        const int n_near = CountNear(grid, e, list);
        entries[e].first_far = static_cast<int32_t>(levels.size());
        entries[e].n_far = Append(list + 1 + n_near, list[0] - n_near);
      }
    }
    for (int packed = 0; packed < 256; ++packed) {
      int number = 0;
      for (int i = 3; i >= 0; --i) {
        number = 3 * number + (packed >> (2 * i) & 3);
      }
      // (A level of 3 does not occur.)
      half_numbers.push_back(static_cast<uint8_t>(number));
    }
    lists = {entries.data(), levels.data(), point_levels.data(),
             half_numbers.data()};
  }

  // From the levels with a number to a point.
  static int Distance(const Grid& grid, int number, int point) {
    int sum = 0;
    for (int i = 0; i < kOctet; ++i, number /= 3) {
      const int step = number % 3 - grid.levels[kOctet * point + i];
      sum += step * step;
    }
    return sum;
  }

  // Points of a list that are not far. Where the last shell is at distance 3,
  // it has three steps of one.
  static int CountNear(const Grid& grid, int number, const uint16_t* list) {
    int n = list[0];
    while (n > 0 && Distance(grid, number, list[n]) == 3) {
      --n;
    }
    return n;
  }

  // Gives how many became of them.
  int16_t Append(const uint16_t* points, int n) {
    const int n_filled = (n + kNearStep - 1) / kNearStep * kNearStep;
    for (int k = 0; k < n_filled; ++k) {
      levels.push_back(
          static_cast<uint16_t>(point_levels[points[k < n ? k : n - 1]]));
    }
    return static_cast<int16_t>(n_filled);
  }

  std::vector<NearLists::Entry> entries;
  std::vector<uint16_t> levels;
  std::vector<int32_t> point_levels;
  std::vector<uint8_t> half_numbers;
  NearLists lists;
};

}  // namespace

const NearLists& Iq1NearLists() {
  static const Tables& tables = *new Tables();
  return tables.lists;
}

}  // namespace iq1
}  // namespace narrow
