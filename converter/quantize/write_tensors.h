// The tensors of a plan's output into a folder, in order and by all threads.
//
//   TensorWriter writer(&input, &plan);
//   RETURN_IF_ERROR(writer.Write(folder, planes_of, rewritten, options));
//
// A unit of work is a packed layer, whose planes a function gives, or a piece
// of another tensor. Units are computed side by side and appended in order,
// so memory is that of the units in flight.

#ifndef NARROW_CONVERTER_QUANTIZE_WRITE_TENSORS_H_
#define NARROW_CONVERTER_QUANTIZE_WRITE_TENSORS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/tensor.h"

namespace narrow {

using Planes = std::vector<std::vector<uint8_t>>;

struct WriteOptions {
  int n_threads = 1;  // that call planes_of at once
  int64_t max_shard_bytes = 5'000'000'000;
  // Called from one thread with bytes of the output that are written.
  std::function<void(int64_t)> on_progress;
  const std::atomic<bool>* cancelled = nullptr;
};

// The planes of a layer (into plan.layers), from any thread.
using PlanesFn = std::function<absl::StatusOr<Planes>(int layer)>;
// Bytes that take the place of a tensor of the input, or nullptr.
using RewrittenFn = std::function<const TensorView*(absl::string_view name)>;

// Cancelled once options.cancelled is true. Files get their names at the end.
absl::Status WriteTensors(const ModelInput& input, const QuantizePlan& plan,
                          const std::string& folder, const PlanesFn& planes_of,
                          const RewrittenFn& rewritten,
                          const WriteOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_WRITE_TENSORS_H_
