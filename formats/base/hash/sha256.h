// SHA-256 (FIPS 180-4), by which files and tensors are known again and
// damage is found; OpenSSL's code, which uses the processor's instructions.
//
//   Sha256 hash;
//   hash.Add(bytes);
//   hash.Add(more);
//   hash.Finish().Hex();      // "e3b0c442…", as sha256sum prints it
//
//   ASSIGN_OR_RETURN(FileDigest digest, DigestFile("model.gguf"));
//
// A Sha256 belongs to one thread. About 1.5 GB/s on a processor with SHA
// instructions, 0.4 GB/s on others.

#ifndef NARROW_FORMATS_BASE_HASH_SHA256_H_
#define NARROW_FORMATS_BASE_HASH_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

// 32 bytes; all zero stands for no hash.
struct Sha256Digest {
  std::array<uint8_t, 32> bytes = {};

  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // nullopt unless `hex` is 64 hexadecimal digits, of either case.
  static std::optional<Sha256Digest> FromHex(absl::string_view hex);

  bool operator==(const Sha256Digest& other) const {
    return bytes == other.bytes;
  }
  bool operator!=(const Sha256Digest& other) const {
    return bytes != other.bytes;
  }
};

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Add(absl::Span<const uint8_t> bytes);
  void Add(absl::string_view text);
  // The text after its length (8 bytes, little-endian), so that parts do not
  // run into each other; and a number as 8 bytes.
  void AddWithLength(absl::string_view text);
  void AddNumber(int64_t number);

  // The hash of all that was added; begins anew.
  Sha256Digest Finish();

  static Sha256Digest Of(absl::Span<const uint8_t> bytes);
  static Sha256Digest Of(absl::string_view text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct FileDigest {
  int64_t n_bytes = 0;
  Sha256Digest sha256;
};

// Of a whole file, whose pages are given back as they are read. Errors of
// MappedFile::Open.
absl::StatusOr<FileDigest> DigestFile(absl::string_view path);

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_HASH_SHA256_H_
