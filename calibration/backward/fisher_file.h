// Fisher weights as a file, so that a run that was stopped need not compute
// them again.
//
//   RETURN_IF_ERROR(WriteFisherWeights(fisher, fingerprint, path));
//   absl::StatusOr<FisherWeights> fisher =
//       ReadFisherWeights(path, fingerprint);
//   if (!fisher.ok()) ... compute them ...
//
// The file is private to one version of the program: no other reads it.

#ifndef NARROW_CALIBRATION_BACKWARD_FISHER_FILE_H_
#define NARROW_CALIBRATION_BACKWARD_FISHER_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/backward/fisher_weights.h"

namespace narrow {

// Complete under its name or not at all. `fingerprint`: the caller's, of model,
// samples and options.
absl::Status WriteFisherWeights(const FisherWeights& fisher,
                                uint64_t fingerprint, const std::string& path);

// Bit for bit what was written; layers that shared a vector do so again. The
// file is mapped while the moments live; their bytes are checked when they are
// read. NotFound: no file; DataLoss: a damaged one, or another version's;
// FailedPrecondition: another fingerprint.
absl::StatusOr<FisherWeights> ReadFisherWeights(const std::string& path,
                                                uint64_t fingerprint);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_FISHER_FILE_H_
