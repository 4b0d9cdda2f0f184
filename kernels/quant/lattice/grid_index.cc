#include "kernels/quant/lattice/grid_index.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

namespace narrow {
namespace {

constexpr int kMaxShells = 3;

// As many distances as are handled at once.
typedef uint8_t Bytes __attribute__((vector_size(16)));
constexpr int kBytes = 16;

Bytes LoadBytes(const uint8_t* from) {
  Bytes bytes;
  std::memcpy(&bytes, from, kBytes);
  return bytes;
}

// Distances from levels to all points are sums of two halves: one of the
// first dim / 2 coordinates, one of the rest. A table row per value of a half
// makes a distance one addition of bytes.
class IndexBuilder {
 public:
  IndexBuilder(const Grid& grid, int n_shells)
      : grid_(grid), n_shells_(n_shells) {
    assert(grid.dim % 2 == 0 && grid.n_points % kBytes == 0 &&
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
      uint8_t* row = &rows[h * n_points];
      for (int i = 0, left = h; i < grid_.dim / 2; ++i) {
        const int level = left % grid_.n_levels;
        left /= grid_.n_levels;
        const uint8_t* levels = grid_.levels + first_coordinate + i;
        for (int p = 0; p < n_points; ++p) {
          const int difference = level - levels[p * grid_.dim];
          row[p] = static_cast<uint8_t>(row[p] + difference * difference);
        }
      }
    }
    return rows;
  }

  void AppendList(int entry, uint8_t* distances, std::vector<uint16_t>* lists) {
    const int n_points = grid_.n_points;
    const uint8_t* a = &first_[entry % n_halves_ * n_points];
    const uint8_t* b = &second_[entry / n_halves_ * n_points];
    for (int p = 0; p < n_points; p += kBytes) {
      const Bytes sums = LoadBytes(a + p) + LoadBytes(b + p);
      std::memcpy(distances + p, &sums, kBytes);
    }
    for (std::vector<uint16_t>& shell : near_) {
      shell.resize(n_points);
    }
    // The least that are possible, as they mostly are.
    uint8_t shells[kMaxShells] = {1, 2, 3};
    int n_shells = n_shells_;
    int sizes[kMaxShells];
    SortNear(distances, shells, n_shells, sizes);
    for (int s = 0; s < n_shells_; ++s) {
      if (sizes[s] == 0) {
        n_shells = FindShells(distances, shells);
        SortNear(distances, shells, n_shells, sizes);
        break;
      }
    }
    lists->push_back(static_cast<uint16_t>(sizes[0] + sizes[1] + sizes[2]));
    for (int s = 0; s < n_shells; ++s) {
      lists->insert(lists->end(), near_[s].begin(),
                    near_[s].begin() + sizes[s]);
    }
  }

  // The least distances, rising; no point is at 0.
  int FindShells(const uint8_t* distances, uint8_t* shells) const {
    int beyond = 0;
    int n = 0;
    while (n < n_shells_) {
      // Nearer points wrap around and become the farthest.
      const uint8_t next = static_cast<uint8_t>(beyond + 1);
      Bytes steps = ~Bytes{};
      for (int p = 0; p < grid_.n_points; p += kBytes) {
        const Bytes d = LoadBytes(distances + p) - next;
        steps = d < steps ? d : steps;
      }
      int step = 255;
      for (int i = 0; i < kBytes; ++i) {
        step = steps[i] < step ? steps[i] : step;
      }
      beyond = next + step;
      if (beyond >= 255) {
        break;
      }
      shells[n++] = static_cast<uint8_t>(beyond);
    }
    return n;
  }

  // Points of each shell, rising, to near_.
  void SortNear(const uint8_t* distances, const uint8_t* shells, int n_shells,
                int* sizes) {
    std::fill_n(sizes, kMaxShells, 0);
    const uint8_t limit = shells[n_shells - 1];
    for (int p = 0; p < grid_.n_points; p += kBytes) {
      const Bytes near = reinterpret_cast<Bytes>(LoadBytes(distances + p) <=
                                                 (limit + Bytes{}));
      uint64_t halves[2];
      std::memcpy(halves, &near, kBytes);
      for (int half = 0; half < 2; ++half) {
        for (uint64_t left = halves[half] & 0x8080808080808080; left != 0;
             left &= left - 1) {
          const int point = p + 8 * half + __builtin_ctzll(left) / 8;
          int shell = 0;
          for (int s = 0; s < n_shells - 1; ++s) {
            shell += distances[point] > shells[s];
          }
          near_[shell][sizes[shell]++] = static_cast<uint16_t>(point);
        }
      }
    }
  }

  const Grid& grid_;
  int n_shells_;
  int n_halves_;
  std::vector<uint8_t> first_;
  std::vector<uint8_t> second_;
  std::vector<uint16_t> near_[kMaxShells];  // of the list being made
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
