#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "kernels/quant/lattice/grid.h"
#include "kernels/quant/lattice/grid_index.h"

namespace narrow {
namespace {

struct Case {
  const char* name;
  const GridIndex& (*index)();
  int n_shells;
};

class LatticeTest : public testing::TestWithParam<Case> {
 protected:
  const GridIndex& index() const { return GetParam().index(); }
  const Grid& grid() const { return *index().grid; }
};

TEST_P(LatticeTest, PointsDifferAndUseEveryLevel) {
  std::set<int> numbers;
  std::set<int> seen;
  for (int p = 0; p < grid().n_points; ++p) {
    int number = 0;
    for (int i = grid().dim - 1; i >= 0; --i) {
      const int level = grid().levels[p * grid().dim + i];
      ASSERT_LT(level, grid().n_levels);
      seen.insert(level);
      number = number * grid().n_levels + level;
    }
    EXPECT_EQ(number, grid().numbers[p]);
    numbers.insert(number);
  }
  EXPECT_EQ(static_cast<int>(numbers.size()), grid().n_points);
  EXPECT_EQ(static_cast<int>(seen.size()), grid().n_levels);
}

// A list by its definition: all points sorted by (distance, point), cut after
// the last of the wanted shells.
std::vector<uint16_t> ListByDefinition(const Grid& grid, int number,
                                       int n_shells) {
  std::vector<std::pair<int, int>> all;
  for (int p = 0; p < grid.n_points; ++p) {
    int distance = 0;
    for (int i = 0, left = number; i < grid.dim; ++i, left /= grid.n_levels) {
      const int difference =
          left % grid.n_levels - grid.levels[p * grid.dim + i];
      distance += difference * difference;
    }
    all.emplace_back(distance, p);
  }
  std::sort(all.begin(), all.end());
  std::set<int> shells;
  std::vector<uint16_t> list;
  for (const auto& [distance, point] : all) {
    shells.insert(distance);
    if (static_cast<int>(shells.size()) > n_shells) {
      break;
    }
    list.push_back(static_cast<uint16_t>(point));
  }
  return list;
}

TEST_P(LatticeTest, EntriesArePointsOrTheirNearestShells) {
  int n_on_grid = 0;
  for (int number = 0; number < index().n_entries; ++number) {
    const int32_t entry = index().entries[number];
    if (entry >= 0) {
      ASSERT_LT(entry, grid().n_points);
      EXPECT_EQ(grid().numbers[entry], number);
      ++n_on_grid;
      continue;
    }
    if (number % 7 != 0) {
      continue;  // the definition is slow
    }
    ASSERT_LT(~entry, index().n_lists_words);
    const uint16_t* list = index().lists + ~entry;
    ASSERT_LE(~entry + 1 + list[0], index().n_lists_words);
    EXPECT_EQ(std::vector<uint16_t>(list + 1, list + 1 + list[0]),
              ListByDefinition(grid(), number, GetParam().n_shells))
        << "levels " << number;
  }
  EXPECT_EQ(n_on_grid, grid().n_points);
}

const Case kCases[] = {
    {"Iq2Xxs", Iq2XxsIndex, 2}, {"Iq2Xs", Iq2XsIndex, 2},
    {"Iq2S", Iq2SIndex, 1},     {"Iq1", Iq1Index, 3},
    {"Iq3Xxs", Iq3XxsIndex, 2}, {"Iq3S", Iq3SIndex, 3},
};
INSTANTIATE_TEST_SUITE_P(All, LatticeTest, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace narrow
