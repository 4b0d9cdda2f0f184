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
    MakeHalfSteps();
    levels.reserve(index.n_lists_words * 3 / 2);
    for (int e = 0; e < index.n_entries; ++e) {
      const int32_t entry = index.entries[e];
      if (entry >= 0) {
        entries.push_back({entry, 0, 0, 0});
        continue;
      }
      entries.push_back({static_cast<int32_t>(levels.size()), 0, 0, 0});
      KeepWinners(grid, e, index.lists + ~entry);
      entries.back().n = Append(winners.data(), winners.size());
    }
    // Apart, so that what is read often lies together.
    for (int e = 0; e < index.n_entries; ++e) {
      if (entries[e].n > 0) {
        const uint16_t* list = index.lists + ~index.entries[e];
        entries[e].first_whole = static_cast<int32_t>(levels.size());
        entries[e].n_whole = Append(list + 1, list[0]);
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

  // For each two halves of levels, two bits a coordinate: the steps from the
  // first to the second. One half lies between two others if the steps to it
  // are among those to the farther.
  void MakeHalfSteps() {
    static constexpr uint8_t kSteps[3][3] = {{0, 1, 3}, {1, 0, 2}, {3, 1, 0}};
    for (int from = 0; from < 81; ++from) {
      for (int to = 0; to < 81; ++to) {
        int steps = 0;
        for (int i = 0, a = from, b = to; i < 4; ++i, a /= 3, b /= 3) {
          steps |= kSteps[a % 3][b % 3] << (2 * i);
        }
        half_steps[from][to] = static_cast<uint8_t>(steps);
      }
    }
  }

  // Fills `winners` with the points of a list that may win.
  void KeepWinners(const Grid& grid, int number, const uint16_t* list) {
    const uint8_t* low = half_steps[number % 81];
    const uint8_t* high = half_steps[number / 81];
    winners.clear();
    steps_to.clear();
    int single_steps = 0;
    for (int k = 1; k <= list[0]; ++k) {
      const int to = grid.numbers[list[k]];
      const int steps = low[to % 81] | high[to / 81] << 8;
      if ((steps & single_steps) != 0) {
        continue;
      }
      bool loses = false;
      for (const int winner : steps_to) {
        loses |= (winner & ~steps) == 0;
      }
      if (loses) {
        continue;
      }
      winners.push_back(list[k]);
      if ((steps & (steps - 1)) == 0) {
        single_steps |= steps;
      } else {
        steps_to.push_back(steps);
      }
    }
  }

  // Gives how many became of them.
  int16_t Append(const uint16_t* points, size_t n_points) {
    const int n = static_cast<int>(n_points);
    const int n_filled = (n + kNearStep - 1) / kNearStep * kNearStep;
    for (int k = 0; k < n_filled; ++k) {
      levels.push_back(
          static_cast<uint16_t>(point_levels[points[k < n ? k : n - 1]]));
    }
    return static_cast<int16_t>(n_filled);
  }

  uint8_t half_steps[81][81];
  std::vector<uint16_t> winners;
  std::vector<int> steps_to;  // those of more than one
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
