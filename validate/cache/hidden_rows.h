// A reference's final hidden states at the positions that are scored, window
// after window, on disk: all that is needed to compute its log-probabilities
// again, exactly, at a share of their size (hidden_size numbers a position in
// place of a vocabulary).
//
//   ASSIGN_OR_RETURN(auto rows, HiddenRows::Create(width, storage, folder));
//   RETURN_IF_ERROR(rows->AppendWindow(values, n_rows));
//   RETURN_IF_ERROR(rows->Read(first_row, n_rows, out));
//   RETURN_IF_ERROR(rows->Save(path, key));         // for another run
//   auto again = HiddenRows::Open(path, key, width);
//
// Windows are compressed one by one (calibration/blockwise/
// float_compression.h) and go to a nameless file until they are saved, so
// memory is one window whatever the text. A saved file holds a prefix of the
// text's windows; what is opened can be appended to, and saved again.
//
// The file, little-endian, frozen for its magic number:
//
//   0    8  magic "NRWHIDS1"
//   8   32  key: SHA-256 of what the states are of
//   40   8  hidden_size
//   48   8  n_windows
//   56  32 * n_windows: n_rows, offset, n_bytes (8 each), and the Checksum
//       (formats/base/hash/checksum.h) of the n_bytes at offset
//   …    8  Checksum of all before
//   …       the windows, one after another, to the end of the file
//
// Belongs to one thread.

#ifndef NARROW_VALIDATE_CACHE_HIDDEN_ROWS_H_
#define NARROW_VALIDATE_CACHE_HIDDEN_ROWS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/temp_file.h"

namespace narrow {

enum class HiddenStorage {
  kFloat32,
  // Rounded to nearest even as they are appended, so that a run that writes
  // the cache and one that reads it give the same figures.
  kBfloat16,
};

class HiddenRows {
 public:
  // None yet. New windows go to a nameless file in `folder` (empty: the
  // system's). REQUIRES: width > 0.
  static absl::StatusOr<std::unique_ptr<HiddenRows>> Create(
      int64_t width, HiddenStorage storage, absl::string_view folder);
  // NotFound if there is no such file; DataLoss, with place and file, if it
  // is damaged anywhere, has another key or other widths.
  static absl::StatusOr<std::unique_ptr<HiddenRows>> Open(
      absl::string_view path, const Sha256Digest& key, int64_t width,
      HiddenStorage storage, absl::string_view folder);

  int64_t width() const { return width_; }
  int64_t n_windows() const { return static_cast<int64_t>(blocks_.size()); }
  // Of all windows together.
  int64_t n_rows() const;
  int64_t window_rows(int64_t window) const;
  // Of all windows, compressed.
  int64_t n_bytes() const;

  // [n_rows, width]. REQUIRES: n_rows > 0.
  absl::Status AppendWindow(const float* values, int64_t n_rows);
  // Rows [first_row, first_row + n_rows) of all windows together.
  absl::Status Read(int64_t first_row, int64_t n_rows, float* out);
  // Complete under its name or not at all.
  absl::Status Save(const std::string& path, const Sha256Digest& key) const;

 private:
  struct Block {
    int64_t first_row = 0;
    int64_t n_rows = 0;
    bool saved = false;  // in saved_, else in temp_
    int64_t offset = 0;
    int64_t n_bytes = 0;
    uint64_t checksum = 0;
  };

  HiddenRows(int64_t width, HiddenStorage storage, absl::string_view folder)
      : width_(width), storage_(storage), folder_(folder) {}
  absl::Status ReadHeader(const Sha256Digest& key);
  absl::StatusOr<std::vector<uint8_t>> BlockBytes(const Block& block) const;
  absl::Status LoadWindow(size_t window);
  size_t WindowOf(int64_t row) const;

  const int64_t width_;
  const HiddenStorage storage_;
  const std::string folder_;
  std::shared_ptr<const MappedFile> saved_;
  std::unique_ptr<TempFile> temp_;
  int64_t temp_bytes_ = 0;
  std::vector<Block> blocks_;
  // The window read last, decoded.
  int64_t loaded_ = -1;
  std::vector<float> values_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_CACHE_HIDDEN_ROWS_H_
