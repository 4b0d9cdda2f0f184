// Two models' logits that lie on a device, compared there: what comes back are
// some numbers a row.
//
//   RETURN_IF_ERROR(reference->LogitsOnDevice(rows, n, &p));
//   RETURN_IF_ERROR(candidate->LogitsOnDevice(its_rows, n, &q));
//   ASSIGN_OR_RETURN(std::vector<LogitTerms> terms,
//                    CompareOnDevice(*reference->device(), p, q, targets));
//
// The numbers are those that validate/measures takes from the same logits on
// the processor, bit for bit. Tested by: device_runner_test.

#ifndef NARROW_CALIBRATION_DEVICE_COMPARE_LOGITS_H_
#define NARROW_CALIBRATION_DEVICE_COMPARE_LOGITS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "kernels/device.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {

// Of one row. The common tokens are the first ones, that both models have.
struct LogitTerms {
  row_threads::SoftmaxTerms p, q;                // over all tokens of each
  row_threads::SoftmaxTerms p_common, q_common;  // over the common ones
  double cross = 0;  // sum over these of exp(p - p's top) * (p - q)
};

// `targets`, one a row, or none. REQUIRES: p and q are on `device`, and have as
// many rows.
absl::StatusOr<std::vector<LogitTerms>> CompareOnDevice(
    const Device& device, const DeviceLogits& p, const DeviceLogits& q,
    absl::Span<const int32_t> targets);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_COMPARE_LOGITS_H_
