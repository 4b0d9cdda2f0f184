// A hash of text and numbers, the same on every machine (FNV-1a, 64 bits), by
// which a run knows again what it has done; not for security.
//
//   Fingerprint print;
//   print.Add("model.layers.0");
//   print.Add(int64_t{128});
//   print.value();

#ifndef NARROW_FORMATS_BASE_HASH_FINGERPRINT_H_
#define NARROW_FORMATS_BASE_HASH_FINGERPRINT_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

class Fingerprint {
 public:
  // With their length, so that parts do not run into each other.
  void Add(absl::string_view bytes);
  void Add(absl::Span<const uint8_t> bytes) {
    Add(absl::string_view(reinterpret_cast<const char*>(bytes.data()),
                          bytes.size()));
  }
  void Add(int64_t value);
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 14695981039346656037u;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_HASH_FINGERPRINT_H_
