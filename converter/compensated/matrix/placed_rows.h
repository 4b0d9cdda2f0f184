// Rows of one matrix under its Gram matrix, on the processor or, where the
// problem has one, a device: FeedRows, RefeedRows, DescendRows and MeasureRows
// (kernels/compensated/compensated.h), with the same bytes and errors.
//
//   PlacedRows rows(problem, gram.data());
//   const PlacedFactor factor = rows.Place(feed_factor);
//   rows.Feed(targets, n_rows, factor, {}, bytes);
//   rows.Descend(targets, n_rows, {}, bytes);
//   RETURN_IF_ERROR(rows.status());
//
// What a device has no memory for the processor does, from then on; notes()
// say so. After any other error of the device nothing is done any more, and
// errors are 0: status() is to be asked before results are used. Borrows the
// problem and the Gram matrix; one thread at a time, which uses the pool's.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_PLACED_ROWS_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_PLACED_ROWS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "kernels/compensated/compensated.h"
#include "kernels/compensated/device/device_blocks.h"

namespace narrow {

// A factor where it is used.
struct PlacedFactor {
  std::shared_ptr<const FeedFactor> factor;
  std::unique_ptr<DeviceFeedFactor> on_device;
};

class PlacedRows {
 public:
  PlacedRows(const CompensatedProblem& problem, const float* gram);

  PlacedFactor Place(std::shared_ptr<const FeedFactor> factor);

  void Feed(const float* targets, int64_t n_rows, const PlacedFactor& factor,
            const FeedOptions& options, uint8_t* bytes);
  void Refeed(const float* targets, int64_t n_rows, const PlacedFactor& factor,
              uint8_t* bytes);
  void Descend(const float* targets, int64_t n_rows,
               const DescendOptions& options, uint8_t* bytes);
  // `bytes` nullptr: of zeros.
  std::vector<RowError> Measure(const float* targets, int64_t n_rows,
                                const uint8_t* bytes);

  // The problem's, while rows are on it.
  const Device* device() const {
    return device_ != nullptr ? p_.device : nullptr;
  }
  const absl::Status& status() const { return status_; }
  std::vector<std::string> notes() const;

 private:
  // Whether `work` was done on the device, or nothing is to be done after an
  // error; the processor is to do it otherwise.
  bool OnDevice(const std::function<absl::Status()>& work);

  const CompensatedProblem& p_;
  const float* const gram_;
  std::unique_ptr<DeviceCodecBlocks> device_;  // nullptr: the processor
  absl::Status status_;
  std::string memory_note_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_PLACED_ROWS_H_
