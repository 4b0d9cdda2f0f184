// The conversion itself: one read of the weights feeds every output.
//
//   std::vector<Output> outputs = {{&plan, "model-Q4_K_M.gguf"}};
//   RETURN_IF_ERROR(WriteOutputs(*model, outputs, options));
//
// Tensors are cut into pieces of whole rows. Threads read, compute and encode
// pieces independently; finished pieces are appended in order, so reading,
// computing and writing overlap and the bytes do not depend on the number of
// threads. Memory is bounded by the pieces in flight, not by the model.

#ifndef NARROW_CONVERTER_PIPELINE_H_
#define NARROW_CONVERTER_PIPELINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "converter/pieces.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

// One file to write. Plans of one call come from the same checkpoint.
struct Output {
  const Plan* plan;
  std::string path;  // prefix of the shards of a split output
};

struct PipelineOptions {
  int n_threads = 0;  // < 1: all processors
  // Bytes that the pieces in flight may take together; at least one row of
  // the widest tensor is always in flight on every thread.
  int64_t memory_bytes = int64_t{160} << 20;
  // Called from one thread with the stored bytes of a finished piece.
  std::function<void(int64_t n_bytes)> on_progress;
  // Set by a signal handler to stop: Cancelled, and nothing is left behind.
  const std::atomic<bool>* cancelled = nullptr;
  // Where blocks are encoded; none: by the threads. The bytes are the same.
  std::optional<Device> device;
  // Told where the device's memory is short; from any thread, one at a time.
  std::function<void(absl::string_view)> on_device_note;
};

// Writes all outputs, each complete under its name or not there at all: on
// an error none of those unfinished appears. DataLoss names the tensor, row
// and column of a weight that is not finite, or of a scale that overflows
// its half-precision field.
absl::Status WriteOutputs(const Checkpoint& model,
                          absl::Span<const Output> outputs,
                          const PipelineOptions& options);

// Takes the next bytes of an output: rows, before row 0 of a tensor with
// scales all of these. Called from one thread.
using AppendFn =
    std::function<absl::Status(size_t output, absl::Span<const uint8_t>)>;

// Encodes the rows of `ranges`, whose tensors are those of the plans, for all
// outputs, and hands them over in order. A range's bytes are those that the
// whole conversion has there. Errors as from WriteOutputs, and of `append`.
absl::Status EncodeRows(const Checkpoint& model,
                        absl::Span<const Output> outputs,
                        absl::Span<const RowRange> ranges,
                        const PipelineOptions& options, const AppendFn& append);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PIPELINE_H_
