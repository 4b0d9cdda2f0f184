#include "kernels/quant/iq3/candidates.h"

#include <cassert>
#include <cstddef>
#include <vector>

#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace iq3 {
namespace {

// Whether |a - x| <= |b - x| for all x whose nearest level is `level`, or the
// two levels are one. Half a level either way; beyond the ends without limit.
bool NeverFurther(int a, int b, int level) {
  // The x from which on b is nearer, doubled.
  const int middle = a + b;
  if (a < b) {
    return level < kLevels - 1 && middle >= 2 * level + 1;
  }
  return a == b || (level > 0 && middle <= 2 * level - 1);
}

uint32_t WordOf(const uint8_t* levels) {
  uint32_t word = 0;
  for (int i = 0; i < kPoint; ++i) {
    word |= static_cast<uint32_t>(levels[i]) << (8 * i);
  }
  return word;
}

struct Tables {
  explicit Tables(const GridIndex& index)
      : grid(*index.grid), entries(2 * kNumbers) {
    for (int number = 0; number < kNumbers; ++number) {
      const int32_t entry = index.entries[number];
      if (entry >= 0) {
        words.push_back(WordOf(grid.levels + kPoint * entry) | kInGrid);
        entries[number] = entries[kNumbers + number] =
            EntryFrom(words.size() - 1);
      } else {
        entries[number] = AppendUndominated(number, index.lists + ~entry);
      }
    }
    for (int number = 0; number < kNumbers; ++number) {
      const int32_t entry = index.entries[number];
      if (entry < 0) {
        entries[kNumbers + number] = AppendAll(index.lists + ~entry);
      }
    }
    words.resize(words.size() + kWordsRoom);
    candidates = {entries.data(), words.data(), index.entries};
  }

  uint32_t AppendUndominated(int number, const uint16_t* list) {
    const size_t first = words.size();
    for (int b = 1; b <= list[0]; ++b) {
      bool dominated = false;
      for (int a = 1; a < b && !dominated; ++a) {
        dominated = Dominates(list[a], list[b], number);
      }
      if (!dominated) {
        words.push_back(WordOf(grid.levels + kPoint * list[b]));
      }
    }
    return EntryFrom(first);
  }

  uint32_t AppendAll(const uint16_t* list) {
    const size_t first = words.size();
    for (int j = 1; j <= list[0]; ++j) {
      words.push_back(WordOf(grid.levels + kPoint * list[j]));
    }
    return EntryFrom(first);
  }

  uint32_t EntryFrom(size_t first) const {
    const size_t n = words.size() - first;
    assert(words.size() <= kFirstMask && n <= kMostWords);
    const uint32_t bits = n > 8 ? 0xff : (1u << n) - 1;
    return static_cast<uint32_t>(first | (n - 1) << kCountShift) |
           bits << kBitsShift;
  }

  bool Dominates(int a, int b, int number) const {
    for (int i = 0; i < kPoint; ++i) {
      if (!NeverFurther(grid.levels[kPoint * a + i],
                        grid.levels[kPoint * b + i], (number >> (3 * i)) & 7)) {
        return false;
      }
    }
    return true;
  }

  const Grid& grid;
  std::vector<uint32_t> entries;
  std::vector<uint32_t> words;
  Candidates candidates;
};

}  // namespace

const Candidates& CandidatesOf(IQ3_XXS) {
  static const Tables& tables = *new Tables(Iq3XxsIndex());
  return tables.candidates;
}

const Candidates& CandidatesOf(IQ3_S) {
  static const Tables& tables = *new Tables(Iq3SIndex());
  return tables.candidates;
}

}  // namespace iq3
}  // namespace narrow
