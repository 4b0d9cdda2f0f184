// Tested by: seeded_choice_test.

#include "calibration/text/seeded_choice.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace narrow {

uint64_t SplitMix64::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t SplitMix64::Below(uint64_t n) {
  // 2^64 mod n numbers at the low end have one more preimage.
  const uint64_t n_surplus = (0 - n) % n;
  uint64_t drawn = Next();
  while (drawn < n_surplus) {
    drawn = Next();
  }
  return drawn % n;
}

std::vector<int64_t> ChooseSeeded(int64_t n, int64_t n_chosen, uint64_t seed) {
  std::vector<int64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  SplitMix64 random(seed);
  for (int64_t i = 0; i < n_chosen; ++i) {
    const int64_t from =
        i + static_cast<int64_t>(random.Below(static_cast<uint64_t>(n - i)));
    std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(from)]);
  }
  all.resize(static_cast<size_t>(n_chosen));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace narrow
