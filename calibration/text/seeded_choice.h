// A random choice that is the same on every machine and for every standard
// library.
//
//   std::vector<int64_t> chosen = ChooseSeeded(n_windows, 128, seed);
//
// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", 2014, figure 12 with its published constants) and the first
// steps of Fisher and Yates' shuffle; numbers that would favour some results
// are drawn again.

#ifndef NARROW_CALIBRATION_TEXT_SEEDED_CHOICE_H_
#define NARROW_CALIBRATION_TEXT_SEEDED_CHOICE_H_

#include <cstdint>
#include <vector>

namespace narrow {

class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // Uniform in 0 ... n - 1. REQUIRES: n > 0.
  uint64_t Below(uint64_t n);

 private:
  uint64_t state_;
};

// n_chosen different ones of 0 ... n - 1, rising. REQUIRES: 0 <= n_chosen <= n.
std::vector<int64_t> ChooseSeeded(int64_t n, int64_t n_chosen, uint64_t seed);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_SEEDED_CHOICE_H_
