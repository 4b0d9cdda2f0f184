// Second moments of the gradients at the outputs of linear layers, <g g^T>,
// for solvers that couple output rows.
//
//   ASSIGN_OR_RETURN(auto h, moments.Read("blk.0.attn_q.weight", -1));
//   h[i * n_outputs + j]
//
// Kept in a file without a name (formats/base/temp_file.h), as of a whole model
// they are larger than it; or in one that another run wrote (fisher_file.h).
// Add and Flush belong to one thread; all others are safe from any, then.

#ifndef NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_
#define NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/base/file.h"
#include "formats/base/parallel.h"
#include "formats/base/temp_file.h"
#include "kernels/device.h"

namespace narrow {

class OutputMoments {
 public:
  // Where a layer's sums are: n_outputs^2 numbers of double, those below the
  // diagonal 0.
  struct Layer {
    int64_t n_outputs = 0;
    int64_t n_rows = 0;     // tokens that were summed
    int64_t offset = 0;     // in the file; -1: in memory alone
    uint64_t checksum = 0;  // of the bytes there

    int64_t n_bytes() const {
      return n_outputs * n_outputs * static_cast<int64_t>(sizeof(double));
    }
  };
  // By tensor name and expert (-1: dense).
  using Layers = std::map<std::pair<std::string, int>, Layer>;

  // `folder` as TempFile::Create's.
  static absl::StatusOr<std::unique_ptr<OutputMoments>> Create(
      absl::string_view folder);
  // Of sums that lie in `file`. REQUIRES: inside it.
  static std::unique_ptr<OutputMoments> OfFile(
      std::shared_ptr<const MappedFile> file, Layers layers);

  // Adds rows [n_rows, n_outputs]. The same bits for any number of threads;
  // how rows are grouped into calls matters (kernels/linalg/gram.h).
  // REQUIRES: made by Create.
  absl::Status Add(absl::string_view name, int expert, const float* rows,
                   int64_t n_rows, int64_t n_outputs, ThreadPool* pool);
  // The same of rows that lie on a device, without gaps, and with the same
  // bits; the sums stay there until Flush. False, and nothing is added, where
  // the device has no room for them. Waits for the work in `stream`.
  absl::StatusOr<bool> AddOnDevice(absl::string_view name, int expert,
                                   const float* rows, int64_t n_rows,
                                   int64_t n_outputs, const Device& device,
                                   DeviceStream* stream);
  // Moves what is in memory to the file: at the end of a block, and of all.
  absl::Status Flush();

  const Layers& layers() const { return layers_; }
  bool Has(absl::string_view name, int expert) const;
  // The mean over rows, [n_outputs, n_outputs], symmetric. NotFound: a layer
  // that was not seen; DataLoss: the file is damaged. After Flush.
  absl::StatusOr<std::vector<double>> Read(absl::string_view name,
                                           int expert) const;
  absl::StatusOr<std::vector<double>> ReadSums(const Layer& layer) const;

 private:
  using Key = std::pair<std::string, int>;

  OutputMoments() = default;

  // The layer's entry, made where there is none.
  Layer* Find(const Key& key, int64_t n_outputs);
  // Its sums so far, wherever they are on the host; empty: none.
  absl::StatusOr<std::vector<double>> TakeSums(const Key& key,
                                               const Layer& layer);
  // Moves sums on a device to in_memory_.
  absl::Status Fetch(const Key& key, const DeviceBuffer& sums);

  std::unique_ptr<TempFile> own_file_;  // one of the two
  std::shared_ptr<const MappedFile> their_file_;
  int64_t file_bytes_ = 0;
  Layers layers_;
  std::map<Key, std::vector<double>> in_memory_;
  std::map<Key, DeviceBuffer> on_device_;  // instead
  std::optional<Device> device_;           // of these
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_
