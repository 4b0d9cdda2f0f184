#include "kernels/quant/iq2/near_lists.h"

#include <cassert>
#include <vector>

#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace iq2 {
namespace {

constexpr int kNumbers4 = 81;  // combinations of four levels

struct Tables {
  explicit Tables(const GridIndex& index)
      : entries(index.n_entries), points(index.n_entries), numbers4(256) {
    const Grid& grid = *index.grid;
    assert(grid.dim == kUnit && grid.n_levels == kLevels);
    std::vector<uint16_t> word_of(grid.n_points);
    for (int p = 0; p < grid.n_points; ++p) {
      for (int i = 0; i < kUnit; ++i) {
        word_of[p] |= grid.levels[kUnit * p + i] << (2 * i);
      }
    }
    for (int e = 0; e < index.n_entries; ++e) {
      const int32_t entry = index.entries[e];
      if (entry >= 0) {
        entries[e] = word_of[entry];
        points[e] = static_cast<uint16_t>(entry);
        continue;
      }
      const uint16_t* list = index.lists + ~entry;
      assert(list[0] <= kMaxList);
      entries[e] = static_cast<int32_t>(
          0x80000000u |
          (static_cast<uint32_t>(words.size() / kListStep) << kLengthBits) |
          list[0]);
      for (int i = 1; i <= list[0]; ++i) {
        words.push_back(word_of[list[i]]);
      }
      words.resize((words.size() + kListStep - 1) / kListStep * kListStep);
    }
    words.resize(words.size() + kListStep);
    for (int number = 0; number < kNumbers4; ++number) {
      int bits = 0;
      for (int i = 0, left = number; i < 4; ++i, left /= kLevels) {
        bits |= left % kLevels << (2 * i);
      }
      numbers4[bits] = static_cast<uint8_t>(number);
    }
    lists = {entries.data(), words.data(), points.data(), numbers4.data()};
  }

  std::vector<int32_t> entries;
  std::vector<uint16_t> words;
  std::vector<uint16_t> points;
  std::vector<uint8_t> numbers4;
  NearLists lists;
};

}  // namespace

const NearLists& ListsOf(Iq2Xxs) {
  static const Tables& tables = *new Tables(Iq2XxsIndex());
  return tables.lists;
}

const NearLists& ListsOf(Iq2Xs) {
  static const Tables& tables = *new Tables(Iq2XsIndex());
  return tables.lists;
}

const NearLists& ListsOf(Iq2S) {
  static const Tables& tables = *new Tables(Iq2SIndex());
  return tables.lists;
}

}  // namespace iq2
}  // namespace narrow
