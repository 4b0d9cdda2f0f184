#include "formats/base/hash/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr size_t kStep = size_t{1} << 20;

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

std::string Sha256Digest::Hex() const {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::optional<Sha256Digest> Sha256Digest::FromHex(absl::string_view hex) {
  Sha256Digest digest;
  if (hex.size() != 2 * digest.bytes.size() ||
      !std::all_of(hex.begin(), hex.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      })) {
    return std::nullopt;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) { Begin(); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // These fail for want of memory alone, or in a process that has shut
  // libcrypto down; a hash of something else must never be shown instead.
  static void Check(int result) {
    if (result != 1) {
      std::abort();
    }
  }
  void Begin() {
    Check(context != nullptr ? 1 : 0);
    Check(EVP_DigestInit_ex(context, EVP_sha256(), nullptr));
  }

  EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Add(absl::Span<const uint8_t> bytes) {
  if (!bytes.empty()) {
    State::Check(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()));
  }
}

void Sha256::Add(absl::string_view text) { Add(BytesOf(text)); }

void Sha256::AddWithLength(absl::string_view text) {
  AddNumber(static_cast<int64_t>(text.size()));
  Add(text);
}

void Sha256::AddNumber(int64_t number) {
  std::array<uint8_t, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(static_cast<uint64_t>(number) >> (8 * i));
  }
  Add(bytes);
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  unsigned int n_bytes = 0;
  State::Check(
      EVP_DigestFinal_ex(state_->context, digest.bytes.data(), &n_bytes));
  assert(n_bytes == digest.bytes.size());
  state_->Begin();
  return digest;
}

Sha256Digest Sha256::Of(absl::Span<const uint8_t> bytes) {
  Sha256 hash;
  hash.Add(bytes);
  return hash.Finish();
}

Sha256Digest Sha256::Of(absl::string_view text) { return Of(BytesOf(text)); }

absl::StatusOr<FileDigest> DigestFile(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  Sha256 hash;
  absl::Span<const uint8_t> rest = file->bytes();
  FileDigest digest;
  digest.n_bytes = static_cast<int64_t>(rest.size());
  while (!rest.empty()) {
    const absl::Span<const uint8_t> step = rest.subspan(0, kStep);
    hash.Add(step);
    file->Release(step);
    rest.remove_prefix(step.size());
  }
  digest.sha256 = hash.Finish();
  return digest;
}

}  // namespace narrow
