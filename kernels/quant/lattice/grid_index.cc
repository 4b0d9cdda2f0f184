#include "kernels/quant/lattice/grid_index.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

namespace narrow {
namespace {

// Distances from levels to all points are sums of two halves: one of the
// first dim / 2 coordinates, one of the rest. A table row per value of a half
// makes a distance one addition of bytes, and eight points go into a word.
class IndexBuilder {
 public:
  IndexBuilder(const Grid& grid, int n_shells)
      : grid_(grid), n_shells_(n_shells) {
    assert(grid.dim % 2 == 0 && grid.n_points % 8 == 0);
    // A distance is a byte below 255.
    assert(grid.dim * (grid.n_levels - 1) * (grid.n_levels - 1) < 255);
    n_halves_ = 1;
    for (int i = 0; i < grid.dim / 2; ++i) {
      n_halves_ *= grid.n_levels;
    }
    first_ = HalfDistances(0);
    second_ = HalfDistances(grid.dim / 2);
  }

  void Build(std::vector<int32_t>* entries, std::vector<uint16_t>* lists) {
    const int n_entries = n_halves_ * n_halves_;
    entries->assign(n_entries, -1);
    for (int p = 0; p < grid_.n_points; ++p) {
      (*entries)[grid_.numbers[p]] = p;
    }
    std::vector<uint8_t> distances(grid_.n_points);
    for (int e = 0; e < n_entries; ++e) {
      if ((*entries)[e] < 0) {
        (*entries)[e] = ~static_cast<int32_t>(lists->size());
        AppendList(e, distances.data(), lists);
      }
    }
  }

 private:
  // [value of the half, point].
  std::vector<uint8_t> HalfDistances(int first_coordinate) const {
    const int n_points = grid_.n_points;
    std::vector<uint8_t> rows(n_halves_ * n_points);
    for (int h = 0; h < n_halves_; ++h) {
      for (int p = 0; p < n_points; ++p) {
        const uint8_t* levels = grid_.levels + p * grid_.dim + first_coordinate;
        int sum = 0;
        for (int i = 0, left = h; i < grid_.dim / 2; ++i) {
          const int difference = left % grid_.n_levels - levels[i];
          sum += difference * difference;
          left /= grid_.n_levels;
        }
        rows[h * n_points + p] = static_cast<uint8_t>(sum);
      }
    }
    return rows;
  }

  void AppendList(int entry, uint8_t* distances, std::vector<uint16_t>* lists) {
    const int n_points = grid_.n_points;
    const uint8_t* a = &first_[entry % n_halves_ * n_points];
    const uint8_t* b = &second_[entry / n_halves_ * n_points];
    for (int p = 0; p < n_points; ++p) {
      distances[p] = static_cast<uint8_t>(a[p] + b[p]);
    }
    const size_t count_at = lists->size();
    lists->push_back(0);
    int beyond = -1;  // the last shell's distance
    for (int shell = 0; shell < n_shells_; ++shell) {
      uint8_t next = 255;
      for (int p = 0; p < n_points; ++p) {
        const uint8_t d = distances[p];
        next = std::min<uint8_t>(next, d > beyond ? d : 255);
      }
      if (next == 255) {
        break;
      }
      AppendShell(distances, next, lists);
      beyond = next;
    }
    (*lists)[count_at] = static_cast<uint16_t>(lists->size() - count_at - 1);
  }

  // Points at just this distance.
  void AppendShell(const uint8_t* distances, uint8_t distance,
                   std::vector<uint16_t>* lists) const {
    constexpr uint64_t kOnes = 0x0101010101010101;
    for (int p = 0; p < grid_.n_points; p += 8) {
      uint64_t eight;
      std::memcpy(&eight, distances + p, 8);
      eight ^= distance * kOnes;
      // No zero byte, exactly: most words end here.
      if ((((eight & 0x7f * kOnes) + 0x7f * kOnes) | eight | 0x7f * kOnes) ==
          ~uint64_t{0}) {
        continue;
      }
      for (int i = p; i < p + 8; ++i) {
        if (distances[i] == distance) {
          lists->push_back(static_cast<uint16_t>(i));
        }
      }
    }
  }

  const Grid& grid_;
  int n_shells_;
  int n_halves_;
  std::vector<uint8_t> first_;
  std::vector<uint8_t> second_;
};

struct Tables {
  Tables(const Grid& grid, int n_shells) {
    IndexBuilder(grid, n_shells).Build(&entries, &lists);
    index = {&grid, static_cast<int>(entries.size()), entries.data(),
             static_cast<int>(lists.size()), lists.data()};
  }
  std::vector<int32_t> entries;
  std::vector<uint16_t> lists;
  GridIndex index;
};

}  // namespace

const GridIndex& Iq2XxsIndex() {
  static const Tables& tables = *new Tables(Iq2XxsGrid(), 2);
  return tables.index;
}

const GridIndex& Iq2XsIndex() {
  static const Tables& tables = *new Tables(Iq2XsGrid(), 2);
  return tables.index;
}

const GridIndex& Iq2SIndex() {
  static const Tables& tables = *new Tables(Iq2SGrid(), 1);
  return tables.index;
}

const GridIndex& Iq1Index() {
  static const Tables& tables = *new Tables(Iq1Grid(), 3);
  return tables.index;
}

const GridIndex& Iq3XxsIndex() {
  static const Tables& tables = *new Tables(Iq3XxsGrid(), 2);
  return tables.index;
}

const GridIndex& Iq3SIndex() {
  static const Tables& tables = *new Tables(Iq3SGrid(), 3);
  return tables.index;
}

}  // namespace narrow
