// Second moments of the gradients at the outputs of linear layers, <g g^T>,
// for solvers that couple output rows.
//
//   ASSIGN_OR_RETURN(auto h, moments.Read("blk.0.attn_q.weight", -1));
//   h[i * n_outputs + j]
//
// Kept in a file without a name (formats/base/temp_file.h): of a whole model
// they are larger than it. Add and Finish belong to one thread; Read is safe
// from any, then.

#ifndef NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_
#define NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/base/parallel.h"
#include "formats/base/temp_file.h"

namespace narrow {

class OutputMoments {
 public:
  // `folder` as TempFile::Create's.
  static absl::StatusOr<std::unique_ptr<OutputMoments>> Create(
      absl::string_view folder);

  // Adds rows [n_rows, n_outputs]. The same bits for any number of threads;
  // how rows are grouped into calls matters (kernels/linalg/gram.h).
  absl::Status Add(absl::string_view name, int expert, const float* rows,
                   int64_t n_rows, int64_t n_outputs, ThreadPool* pool);
  // Moves what is in memory to the file: at the end of a block, and of all.
  absl::Status Flush();

  // Layers that were seen.
  bool Has(absl::string_view name, int expert) const;
  // The mean over rows, [n_outputs, n_outputs], symmetric. NotFound: a layer
  // that was not seen. After Flush.
  absl::StatusOr<std::vector<double>> Read(absl::string_view name,
                                           int expert) const;

 private:
  struct Entry {
    int64_t n_outputs = 0;
    int64_t n_rows = 0;
    int64_t offset = 0;  // in the file
    bool on_file = false;
    std::vector<double> sums;  // above the diagonal; empty if on file alone
  };

  explicit OutputMoments(std::unique_ptr<TempFile> file)
      : file_(std::move(file)) {}
  absl::Status Load(const Entry& entry, std::vector<double>* sums) const;

  const std::unique_ptr<TempFile> file_;
  int64_t file_bytes_ = 0;
  std::map<std::pair<std::string, int>, Entry> entries_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_OUTPUT_MOMENTS_H_
