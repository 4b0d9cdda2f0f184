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
    points.reserve(index.n_lists_words * 3 / 2);
    for (int e = 0; e < index.n_entries; ++e) {
      const int32_t entry = index.entries[e];
      if (entry >= 0) {
        entries.push_back({entry, 0});
        continue;
      }
      const uint16_t* list = index.lists + ~entry;
      const int n = (list[0] + kNearStep - 1) / kNearStep * kNearStep;
      entries.push_back({static_cast<int32_t>(levels.size()), n});
      for (int k = 0; k < n; ++k) {
        const uint16_t point = list[1 + (k < list[0] ? k : list[0] - 1)];
        points.push_back(point);
        levels.push_back(static_cast<uint16_t>(point_levels[point]));
      }
    }
    lists = {entries.data(), levels.data(), points.data(), point_levels.data()};
  }

  std::vector<NearLists::Entry> entries;
  std::vector<uint16_t> levels;
  std::vector<uint16_t> points;
  std::vector<int32_t> point_levels;
  NearLists lists;
};

}  // namespace

const NearLists& Iq1NearLists() {
  static const Tables& tables = *new Tables();
  return tables.lists;
}

}  // namespace iq1
}  // namespace narrow
