#include "kernels/quant/iq1/near_lists.h"

#include <cstddef>
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
        entries.push_back({entry, 0, 0});
        continue;
      }
      const uint16_t* list = index.lists + ~entry;
      const int n = list[0];
      // Where the last shell is at distance 3, it has three steps of one.
      int n_near = n;
      if (Distance(grid, e, list[n]) == 3) {
        while (n_near > 0 && Distance(grid, e, list[n_near]) == 3) {
          --n_near;
        }
      }
      const size_t first = levels.size();
      Append(list + 1, n_near);
      const size_t second = levels.size();
      Append(list + 1 + n_near, n - n_near);
      entries.push_back({static_cast<int32_t>(first),
                         static_cast<int16_t>(levels.size() - first),
                         static_cast<int16_t>(second - first)});
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

  void Append(const uint16_t* points, int n) {
    for (int k = 0; k < (n + kNearStep - 1) / kNearStep * kNearStep; ++k) {
      levels.push_back(
          static_cast<uint16_t>(point_levels[points[k < n ? k : n - 1]]));
    }
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
