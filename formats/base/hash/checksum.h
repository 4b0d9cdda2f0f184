// A 64-bit sum over bytes and numbers that finds damage, the same on every
// machine; not for security.
//
//   Checksum sum;
//   sum.Add(bytes.data(), bytes.size());
//   sum.value();
//
// Words of eight bytes, little-endian, each mixed in by xor, multiplication
// with 2^64 / golden ratio (odd) and a shift: both are bijections, so that
// two inputs differing in one word alone never agree. Some 5 GB/s.

#ifndef NARROW_FORMATS_BASE_HASH_CHECKSUM_H_
#define NARROW_FORMATS_BASE_HASH_CHECKSUM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace narrow {

class Checksum {
 public:
  // With its length: parts do not run into each other.
  void Add(const void* bytes, size_t n) {
    Add(static_cast<int64_t>(n));
    const char* at = static_cast<const char*>(bytes);
    for (; n > 0;) {
      const size_t n_word = std::min<size_t>(n, 8);
      uint64_t word = 0;
      std::memcpy(&word, at, n_word);
      Mix(word);
      at += n_word;
      n -= n_word;
    }
  }
  void Add(int64_t value) { Mix(static_cast<uint64_t>(value)); }
  uint64_t value() const { return sum_; }

 private:
  void Mix(uint64_t word) {
    sum_ = (sum_ ^ word) * 0x9e3779b97f4a7c15u;
    sum_ ^= sum_ >> 32;
  }

  uint64_t sum_ = 0x2545f4914f6cdd1du;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_HASH_CHECKSUM_H_
