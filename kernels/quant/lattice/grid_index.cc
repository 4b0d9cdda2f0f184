#include "kernels/quant/lattice/grid_index.h"

#include <cassert>
#include <vector>

namespace narrow {
namespace {

constexpr int kMaxShells = 3;

// Distances from levels to all points are sums of two halves: one of the
// first dim / 2 coordinates, one of the rest. A table row per value of a half
// makes a distance one addition of bytes, and eight points go into a word.
class IndexBuilder {
 public:
  IndexBuilder(const Grid& grid, int n_shells)
      : grid_(grid), n_shells_(n_shells) {
    assert(grid.dim % 2 == 0 && grid.n_points % 8 == 0 &&
           n_shells <= kMaxShells);
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
    uint8_t shells[kMaxShells];
    const int n_shells = FindShells(distances, shells);
    near_.clear();
    AppendNear(distances, shells[n_shells - 1]);
    lists->push_back(static_cast<uint16_t>(near_.size()));
    for (int s = 0; s < n_shells; ++s) {
      for (const uint16_t point : near_) {
        if (distances[point] == shells[s]) {
          lists->push_back(point);
        }
      }
    }
  }

  // The least distances, rising; no point is at 0.
  int FindShells(const uint8_t* distances, uint8_t* shells) const {
    int beyond = 0;
    int n = 0;
    while (n < n_shells_) {
      // Nearer points wrap around and become the farthest.
      const uint8_t next = static_cast<uint8_t>(beyond + 1);
      uint8_t step = 255;
      for (int p = 0; p < grid_.n_points; ++p) {
        const uint8_t d = static_cast<uint8_t>(distances[p] - next);
        step = d < step ? d : step;
      }
      beyond = next + step;
      if (beyond >= 255) {
        break;
      }
      shells[n++] = static_cast<uint8_t>(beyond);
    }
    return n;
  }

  // Points up to `limit` < 128.
  void AppendNear(const uint8_t* distances, uint8_t limit) {
    constexpr uint64_t kOnes = 0x0101010101010101;
    for (int p = 0; p < grid_.n_points; p += 8) {
      uint64_t eight = 0;
      for (int i = 0; i < 8; ++i) {
        eight |= static_cast<uint64_t>(distances[p + i]) << (8 * i);
      }
      // The top bit of a byte: beyond the limit.
      const uint64_t beyond =
          (((eight & 0x7f * kOnes) + (127 - limit) * kOnes) | eight);
      for (uint64_t near = ~beyond & 0x80 * kOnes; near != 0;
           near &= near - 1) {
        near_.push_back(static_cast<uint16_t>(p + __builtin_ctzll(near) / 8));
      }
    }
  }

  const Grid& grid_;
  int n_shells_;
  int n_halves_;
  std::vector<uint8_t> first_;
  std::vector<uint8_t> second_;
  std::vector<uint16_t> near_;  // of the list being made
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
