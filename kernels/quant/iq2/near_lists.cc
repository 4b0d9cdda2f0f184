#include "kernels/quant/iq2/near_lists.h"

#include <cassert>
#include <vector>

#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace iq2 {
namespace {

constexpr int kNumbers4 = 81;  // combinations of four levels

uint16_t WordOf(int number) {
  int word = 0;
  for (int i = 0; i < kUnit; ++i, number /= kLevels) {
    word |= number % kLevels << (2 * i);
  }
  return static_cast<uint16_t>(word);
}

// By coordinate, in both bits: how far the levels of a word are from those
// sought, 0 … 2 steps.
uint32_t Steps(uint32_t sought, uint32_t word) {
  const uint32_t even = 0x5555;
  const uint32_t differ = sought ^ word;
  // 0 and 2 differ in the high bit alone, 1 from either in the low one.
  const uint32_t two = (differ >> 1) & ~differ & even;
  return (two << 1) | (differ & even);
}

// Whether none of the points before leaves this one behind.
bool MayWin(uint32_t sought, uint32_t word,
            const std::vector<uint16_t>& before) {
  const uint32_t steps = Steps(sought, word);
  for (const uint32_t other : before) {
    const uint32_t other_steps = Steps(sought, other);
    // Where they differ, the other must be at fewer steps. Of steps 0, 1, 2
    // one is fewer if its high bit is less, or else its low one.
    const uint32_t differ = other ^ word;
    const uint32_t places = (differ | (differ >> 1)) & 0x5555;
    const uint32_t high = (steps & ~other_steps) >> 1;
    const uint32_t low = steps & ~other_steps & ~(other_steps >> 1);
    if ((places & ~(high | low)) == 0) {
      return false;
    }
  }
  return true;
}

struct Tables {
  explicit Tables(const GridIndex& index)
      : entries(index.n_entries),
        whole_entries(index.n_entries),
        points(index.n_entries),
        numbers4(256) {
    const Grid& grid = *index.grid;
    assert(grid.dim == kUnit && grid.n_levels == kLevels);
    std::vector<uint16_t> word_of(grid.n_points);
    std::vector<uint16_t> whole;
    std::vector<uint16_t> winners;
    for (int p = 0; p < grid.n_points; ++p) {
      for (int i = 0; i < kUnit; ++i) {
        word_of[p] |= grid.levels[kUnit * p + i] << (2 * i);
      }
    }
    for (int e = 0; e < index.n_entries; ++e) {
      const int32_t entry = index.entries[e];
      if (entry >= 0) {
        entries[e] = whole_entries[e] = word_of[entry];
        points[e] = static_cast<uint16_t>(entry);
        continue;
      }
      const uint16_t* list = index.lists + ~entry;
      assert(list[0] <= kMaxList);
      whole.clear();
      winners.clear();
      for (int i = 1; i <= list[0]; ++i) {
        whole.push_back(word_of[list[i]]);
        if (MayWin(WordOf(e), whole.back(), winners)) {
          winners.push_back(whole.back());
        }
      }
      entries[e] = Append(winners);
      whole_entries[e] =
          winners.size() == whole.size() ? entries[e] : Append(whole);
    }
    for (int number = 0; number < kNumbers4; ++number) {
      int bits = 0;
      for (int i = 0, left = number; i < 4; ++i, left /= kLevels) {
        bits |= left % kLevels << (2 * i);
      }
      numbers4[bits] = static_cast<uint8_t>(number);
    }
    lists = {entries.data(), whole_entries.data(), words.data(), points.data(),
             numbers4.data()};
  }

  int32_t Append(const std::vector<uint16_t>& list) {
    const uint32_t place = static_cast<uint32_t>(words.size() / kListStep);
    words.insert(words.end(), list.begin(), list.end());
    words.resize((words.size() + kListStep - 1) / kListStep * kListStep,
                 0xffff);
    return static_cast<int32_t>(0x80000000u | (place << kLengthBits) |
                                static_cast<uint32_t>(list.size()));
  }

  std::vector<int32_t> entries;
  std::vector<int32_t> whole_entries;
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
