#include "kernels/runs/device/device_blocks.h"

#include <algorithm>

#include "formats/base/status.h"
#include "kernels/runs/device/run_task.h"

namespace narrow {

using run_threads::BlockErrors;
using run_threads::ChooseTask;
using run_threads::PartErrors;
using run_threads::PartTask;
using run_threads::RoundBlocksTask;

int64_t DeviceBlocks::n_parts() const {
  return (problem_.n_blocks + problem_.part_blocks - 1) / problem_.part_blocks;
}

absl::Status DeviceBlocks::Allocate(const Device& device, int64_t n_parts) {
  const size_t blocks = static_cast<size_t>(n_parts * problem_.part_blocks);
  const size_t weights = blocks * static_cast<size_t>(problem_.block);
  const auto allocate = [&](size_t n_bytes, DeviceBuffer* to) {
    *to = DeviceBuffer();
    ASSIGN_OR_RETURN(*to, device.Allocate(n_bytes, problem_.name));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(allocate(4 * weights, &weights_));
  RETURN_IF_ERROR(allocate(4 * weights, &x_));
  RETURN_IF_ERROR(allocate(weights, &codes_));
  RETURN_IF_ERROR(allocate(4 * problem_.importance.size(), &importance_));
  RETURN_IF_ERROR(allocate(4 * blocks, &scales_));
  RETURN_IF_ERROR(allocate(blocks * sizeof(BlockErrors), &errors_));
  return allocate(static_cast<size_t>(n_parts) * sizeof(PartErrors), &parts_);
}

absl::StatusOr<std::unique_ptr<DeviceBlocks>> DeviceBlocks::New(
    const Device& device, const BlockProblem& problem,
    const SmallerBatchNote& on_smaller) {
  std::unique_ptr<DeviceBlocks> blocks(new DeviceBlocks(problem));
  ASSIGN_OR_RETURN(blocks->stream_, device.NewStream());
  if (problem.n_blocks == 0) {
    return blocks;
  }
  ASSIGN_OR_RETURN(const int64_t parts,
                   WithSmallerBatches(
                       blocks->n_parts(), 1,
                       [&](int64_t n) { return blocks->Allocate(device, n); },
                       [&](int64_t n, absl::string_view why) {
                         on_smaller(n * problem.part_blocks * problem.block,
                                    why);
                       }));
  blocks->at_once_ = parts * problem.part_blocks;
  RETURN_IF_ERROR(blocks->stream_.Copy(problem.importance.data(),
                                       4 * problem.importance.size(),
                                       blocks->importance_.data()));
  return blocks;
}

absl::Status DeviceBlocks::Upload(int64_t first, int64_t n) {
  if (uploaded_ == first) {
    return absl::OkStatus();
  }
  uploaded_ = first;
  return stream_.Copy(problem_.weights + first * problem_.block,
                      static_cast<size_t>(4 * n * problem_.block),
                      weights_.data());
}

absl::Status DeviceBlocks::Choose(float* scales, absl::Span<PartErrors> parts) {
  for (int64_t first = 0; first < problem_.n_blocks; first += at_once_) {
    const int64_t n = std::min(at_once_, problem_.n_blocks - first);
    RETURN_IF_ERROR(Upload(first, n));
    ChooseTask task = {};
    task.grid = problem_.grid;
    task.candidates = problem_.candidates;
    task.n_refits = problem_.n_refits;
    task.block = problem_.block;
    task.n_blocks = n;
    task.n_cols = problem_.n_cols;
    task.first = first * problem_.block;
    task.weights = weights_.as<float>();
    task.importance = importance_.as<float>();
    task.x = x_.as<float>();
    task.scales = scales_.as<float>();
    task.errors = errors_.as<BlockErrors>();
    RETURN_IF_ERROR(RunOnDevice(task, &stream_));
    const PartTask sums = {problem_.part_blocks, n, task.errors,
                           parts_.as<PartErrors>()};
    RETURN_IF_ERROR(RunOnDevice(sums, &stream_));
    RETURN_IF_ERROR(stream_.Copy(scales_.data(), static_cast<size_t>(4 * n),
                                 scales + first));
    RETURN_IF_ERROR(stream_.Copy(
        parts_.data(), static_cast<size_t>(sums.n()) * sizeof(PartErrors),
        parts.data() + first / problem_.part_blocks));
    RETURN_IF_ERROR(stream_.Synchronize(problem_.name));
  }
  return absl::OkStatus();
}

absl::Status DeviceBlocks::Round(const float* scales, RunDivision division,
                                 uint8_t* codes) {
  for (int64_t first = 0; first < problem_.n_blocks; first += at_once_) {
    const int64_t n = std::min(at_once_, problem_.n_blocks - first);
    RETURN_IF_ERROR(Upload(first, n));
    RETURN_IF_ERROR(stream_.Copy(scales + first, static_cast<size_t>(4 * n),
                                 scales_.data()));
    const int64_t n_weights = n * problem_.block;
    const RoundBlocksTask task = {
        problem_.grid,        division == RunDivision::kDivide,
        problem_.block,       n_weights,
        weights_.as<float>(), scales_.as<float>(),
        codes_.as<uint8_t>()};
    RETURN_IF_ERROR(RunOnDevice(task, &stream_));
    RETURN_IF_ERROR(stream_.Copy(codes_.data(), static_cast<size_t>(n_weights),
                                 codes + first * problem_.block));
    RETURN_IF_ERROR(stream_.Synchronize(problem_.name));
  }
  return absl::OkStatus();
}

}  // namespace narrow
