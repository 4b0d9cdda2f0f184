// Little-endian:
//
//   magic, 16 bytes | u64 fingerprint | i64 windows | f64 nll, f64 squares
//   | i64 scored | i64 number of sums
//   each of the sums: i64 number of names, each i64 length and bytes
//     | i64 matrices | i64 columns | i64 counts | f64 sums | f64 squares
//   u64 Fingerprint of all bytes before
//
// Tested by: importance_state_test.

#include "calibration/importance/importance_state.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "formats/base/file.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// The version is the last four.
constexpr absl::string_view kMagic = "narrow sums 0001";
constexpr absl::string_view kAnyMagic = "narrow sums ";

template <typename T>
void Append(const T& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
void AppendAll(const std::vector<T>& values, std::string* out) {
  out->append(reinterpret_cast<const char*>(values.data()),
              values.size() * sizeof(T));
}

uint64_t Checksum(absl::string_view bytes) {
  Fingerprint sum;
  sum.Add(bytes);
  return sum.value();
}

// Takes values off the front; after the first that is not there, all are
// zero and ok() is false.
class Cursor {
 public:
  explicit Cursor(absl::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }

  template <typename T>
  T Take() {
    T value{};
    if (Has(1, sizeof(T))) {
      std::memcpy(&value, bytes_.data(), sizeof(T));
      bytes_.remove_prefix(sizeof(T));
    }
    return value;
  }
  // `n` values, none if there are fewer.
  template <typename T>
  std::vector<T> TakeAll(int64_t n) {
    std::vector<T> values;
    if (Has(n, sizeof(T))) {
      values.resize(static_cast<size_t>(n));
      std::memcpy(values.data(), bytes_.data(), values.size() * sizeof(T));
      bytes_.remove_prefix(values.size() * sizeof(T));
    }
    return values;
  }

 private:
  bool Has(int64_t n, size_t bytes_each) {
    ok_ =
        ok_ && n >= 0 && static_cast<uint64_t>(n) <= bytes_.size() / bytes_each;
    return ok_;
  }

  absl::string_view bytes_;
  bool ok_ = true;
};

SharedSums TakeSums(Cursor* cursor) {
  SharedSums shared;
  const int64_t n_names = cursor->Take<int64_t>();
  for (int64_t i = 0; i < n_names && cursor->ok(); ++i) {
    const auto name = cursor->TakeAll<char>(cursor->Take<int64_t>());
    shared.names.emplace_back(name.begin(), name.end());
  }
  ImportanceSums& sums = shared.sums;
  sums.n_matrices = cursor->Take<int64_t>();
  sums.n_cols = cursor->Take<int64_t>();
  sums.counts = cursor->TakeAll<int64_t>(sums.n_matrices);
  int64_t n_values = 0;
  if (__builtin_mul_overflow(sums.n_matrices, sums.n_cols, &n_values)) {
    n_values = -1;
  }
  sums.sum = cursor->TakeAll<double>(n_values);
  sums.sum_sq = cursor->TakeAll<double>(n_values);
  return shared;
}

}  // namespace

absl::Status WriteImportanceState(const ImportanceState& state,
                                  absl::string_view path) {
  std::string bytes(kMagic);
  Append(state.fingerprint, &bytes);
  Append(state.n_windows, &bytes);
  Append(state.nll_sum, &bytes);
  Append(state.nll_squares, &bytes);
  Append(state.n_scored, &bytes);
  Append(static_cast<int64_t>(state.shared.size()), &bytes);
  for (const SharedSums& shared : state.shared) {
    Append(static_cast<int64_t>(shared.names.size()), &bytes);
    for (const std::string& name : shared.names) {
      Append(static_cast<int64_t>(name.size()), &bytes);
      bytes.append(name);
    }
    Append(shared.sums.n_matrices, &bytes);
    Append(shared.sums.n_cols, &bytes);
    AppendAll(shared.sums.counts, &bytes);
    AppendAll(shared.sums.sum, &bytes);
    AppendAll(shared.sums.sum_sq, &bytes);
  }
  Append(Checksum(bytes), &bytes);
  return WriteTextFile(path, bytes);
}

absl::StatusOr<ImportanceState> ReadImportanceState(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const auto damaged = [path](absl::string_view cause) {
    return absl::DataLossError(
        absl::StrCat("not the state of a stopped run of this version: ", cause,
                     "; reading ", path));
  };
  absl::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()),
                          file->bytes().size());
  if (!bytes.empty() && !absl::StartsWith(bytes, kAnyMagic) &&
      !absl::StartsWith(kAnyMagic, bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not the state of a stopped run, and would be replaced by one; rename "
        "it, or choose another --out; reading ",
        path));
  }
  uint64_t checksum = 0;
  if (bytes.size() < kMagic.size() + sizeof(checksum) ||
      bytes.substr(0, kMagic.size()) != kMagic) {
    return damaged("its first bytes are others");
  }
  std::memcpy(&checksum, bytes.data() + bytes.size() - sizeof(checksum),
              sizeof(checksum));
  bytes.remove_suffix(sizeof(checksum));
  if (checksum != Checksum(bytes)) {
    return damaged("its checksum is wrong");
  }
  Cursor cursor(bytes.substr(kMagic.size()));
  ImportanceState state;
  state.fingerprint = cursor.Take<uint64_t>();
  state.n_windows = cursor.Take<int64_t>();
  state.nll_sum = cursor.Take<double>();
  state.nll_squares = cursor.Take<double>();
  state.n_scored = cursor.Take<int64_t>();
  const int64_t n_shared = cursor.Take<int64_t>();
  for (int64_t i = 0; i < n_shared && cursor.ok(); ++i) {
    state.shared.push_back(TakeSums(&cursor));
  }
  if (!cursor.done() || state.n_windows < 0) {
    return damaged("its lengths do not add up");
  }
  return state;
}

}  // namespace narrow
