// What turns a file's bytes to weights, besides the decoders (encode_bench.h):
// codes of packed matrices, and what a model does to decoded weights.

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/packed/device/device_codes.h"
#include "kernels/quant/device/device_finish.h"

namespace narrow {
namespace {

constexpr int64_t kGroup = 128;

// Codes of 4 bits in words of eight along a row, scales of groups of 128.
absl::Status BenchCodes(int64_t n_rows, int64_t n_cols, Bench* bench) {
  CodesTask task;
  task.words = reinterpret_cast<const uint8_t*>(bench->in());
  task.layout.row_step = n_cols / 8;
  task.n_rows = n_rows;
  task.n_cols = n_cols;
  task.scales = task.zeros = bench->in();
  task.block_cols = kGroup;
  task.n_scale_cols = n_cols / kGroup;
  task.halves = bench->out_halves();
  const auto n = static_cast<double>(n_rows * n_cols);
  // Half a byte of code, two of the weight, eight of scale and zero a group.
  return bench->Bytes(
      absl::StrCat("codes of int4 to bfloat16, ", n_rows, " x ", n_cols), 2 * n,
      [&] { return RunCodes(task, bench->stream()); },
      n * (2.5 + 8.0 / kGroup));
}

absl::Status BenchFinish(int64_t n_rows, int64_t n_cols, Bench* bench) {
  FinishTask task;
  task.weights = bench->in();
  task.n_weights = n_rows * n_cols;
  task.offset = 1;
  task.rounding = FinishTask::Rounding::kBf16;
  task.halves = bench->out_halves();
  return bench->Bytes(absl::StrCat("decoded weights, offset and rounded, ",
                                   n_rows, " x ", n_cols),
                      6 * static_cast<double>(n_rows * n_cols),
                      [&] { return RunFinish(task, bench->stream()); });
}

}  // namespace

absl::Status BenchPieces(const ForwardSizes& sizes, Bench* bench) {
  const int64_t n_cols = sizes.width / kGroup * kGroup;
  if (n_cols == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a width of ", sizes.width, " has no group of ", kGroup));
  }
  RETURN_IF_ERROR(BenchCodes(sizes.n_tokens, n_cols, bench));
  return BenchFinish(sizes.n_tokens, n_cols, bench);
}

}  // namespace narrow
