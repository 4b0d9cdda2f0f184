// Short blocks of consecutive weights on a device, from and to the host's
// memory: their scales chosen, their weights rounded, with the bits of
// converter/solvers/runs/block_scales.h.
//
//   ASSIGN_OR_RETURN(auto blocks, DeviceBlocks::New(device, problem, note));
//   RETURN_IF_ERROR(blocks->Choose(scales, absl::MakeSpan(parts)));
//   RETURN_IF_ERROR(blocks->Round(scales, RunDivision::kDivide, codes));
//
// Blocks that fit into the device's memory go at once and stay there between
// the two steps; otherwise as many as there is room for. One thread at a time.

#ifndef NARROW_KERNELS_RUNS_DEVICE_DEVICE_BLOCKS_H_
#define NARROW_KERNELS_RUNS_DEVICE_DEVICE_BLOCKS_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/runs/device/block_threads.h"

namespace narrow {

// Whole blocks of a matrix. Everything is borrowed, and the host's.
struct BlockProblem {
  absl::string_view name;  // for messages
  const float* weights = nullptr;
  int64_t n_blocks = 0;
  int64_t block = 64;
  int64_t n_cols = 0;                  // of the matrix
  absl::Span<const float> importance;  // [n_cols], or empty
  RunGrid grid;
  RunCandidates candidates;
  int n_refits = 0;
  int64_t part_blocks = kRunsAside;  // a multiple of it
};

// What a device has no room for goes in so many pieces at a time.
using SmallerBatchNote = std::function<void(int64_t n, absl::string_view why)>;

class DeviceBlocks {
 public:
  // ResourceExhausted: the device's memory has no room for one part.
  static absl::StatusOr<std::unique_ptr<DeviceBlocks>> New(
      const Device& device, const BlockProblem& problem,
      const SmallerBatchNote& on_smaller);

  // [n_blocks], and errors of every part_blocks of them. Waits.
  absl::Status Choose(float* scales, absl::Span<run_threads::PartErrors> parts);
  // [n_blocks, block]. Waits.
  absl::Status Round(const float* scales, RunDivision division, uint8_t* codes);

 private:
  explicit DeviceBlocks(const BlockProblem& problem) : problem_(problem) {}
  int64_t n_parts() const;
  absl::Status Allocate(const Device& device, int64_t n_parts);
  // Blocks [first, first + n) to the device, unless they are there.
  absl::Status Upload(int64_t first, int64_t n);

  const BlockProblem problem_;
  int64_t at_once_ = 0;  // blocks
  int64_t uploaded_ = -1;
  DeviceStream stream_;
  DeviceBuffer weights_;
  DeviceBuffer x_;
  DeviceBuffer importance_;
  DeviceBuffer scales_;
  DeviceBuffer errors_;
  DeviceBuffer parts_;
  DeviceBuffer codes_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_DEVICE_BLOCKS_H_
