#include "formats/base/hash/fingerprint.h"

namespace narrow {
namespace {

constexpr uint64_t kPrime = 1099511628211u;

}  // namespace

void Fingerprint::Add(absl::string_view bytes) {
  Add(static_cast<int64_t>(bytes.size()));
  for (const char c : bytes) {
    hash_ = (hash_ ^ static_cast<uint8_t>(c)) * kPrime;
  }
}

void Fingerprint::Add(int64_t value) {
  for (int shift = 0; shift < 64; shift += 8) {
    const uint64_t byte = static_cast<uint64_t>(value) >> shift & 0xff;
    hash_ = (hash_ ^ byte) * kPrime;
  }
}

}  // namespace narrow
