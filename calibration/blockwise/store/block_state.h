// The hidden states between two blocks as a file, so that a stopped run goes
// on where it was and ends with the same bytes.
//
//   RETURN_IF_ERROR(WriteBlockState(header, {&quantized, &original}, path));
//   ASSIGN_OR_RETURN(auto state, BlockStateFile::Open(path));
//   if (state->header().fingerprint != ...) ...
//   RETURN_IF_ERROR(state->ReadInto({&quantized, &original}));
//
// The file is private to one version of the program: no other reads it.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STORE_BLOCK_STATE_H_
#define NARROW_CALIBRATION_BLOCKWISE_STORE_BLOCK_STATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/blockwise/store/hidden_store.h"
#include "formats/base/file.h"

namespace narrow {

struct BlockStateHeader {
  uint64_t fingerprint = 0;        // the caller's
  uint64_t samples_and_model = 0;  // the calibrator's
  int64_t next_block = 0;
  int64_t n_streams = 0;
  HiddenShape shape;
};

// Complete under its name or not at all. `streams` are header.n_streams stores
// of header.shape.
absl::Status WriteBlockState(const BlockStateHeader& header,
                             absl::Span<const HiddenStore* const> streams,
                             const std::string& path);

// DataLoss, as errors of Open: the state in `path` is of a run with something
// else, named by `what`.
absl::Status OtherBlockState(absl::string_view what, const std::string& path);

// Whether a run can go on from a state, that is: it has the fingerprints and
// shape that are expected, at least so many streams, and blocks up to
// expected.next_block. DataLoss: it is of another run.
absl::Status CheckBlockState(const BlockStateHeader& header,
                             const BlockStateHeader& expected,
                             const std::string& path);

class BlockStateFile {
 public:
  // Checks every byte. DataLoss: damaged, or another program's or version's
  // file.
  static absl::StatusOr<std::unique_ptr<BlockStateFile>> Open(
      const std::string& path);

  const BlockStateHeader& header() const { return header_; }
  // Fills header().n_streams stores of header().shape.
  absl::Status ReadInto(absl::Span<HiddenStore* const> streams) const;

 private:
  explicit BlockStateFile(std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)) {}
  absl::Status Parse();

  std::shared_ptr<const MappedFile> file_;
  BlockStateHeader header_;
  // Stream after stream, sample after sample.
  std::vector<absl::Span<const uint8_t>> compressed_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STORE_BLOCK_STATE_H_
