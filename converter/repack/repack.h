// A quantized model directory written in another packing, nothing lost: every
// packed weight is the same number as before, and all other tensors and files
// are copied.
//
//   RepackOptions options;
//   options.format = "compressed-tensors";
//   options.out = "model-ct";
//   ASSIGN_OR_RETURN(RepackResult result, Repack("model-gptq", options));

#ifndef NARROW_CONVERTER_REPACK_REPACK_H_
#define NARROW_CONVERTER_REPACK_REPACK_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct RepackOptions {
  std::string format;  // a packing's name
  std::string out;     // a folder that is not there yet, or is empty
  int64_t max_shard_bytes = 5'000'000'000;
  int n_threads = 1;
  // Called once with all bytes of the output, then with those written.
  std::function<void(int64_t)> on_size;
  std::function<void(int64_t)> on_written;
  const std::atomic<bool>* cancelled = nullptr;
};

struct RepackResult {
  std::string from;  // names of packings
  std::string to;
  int64_t n_layers = 0;
  int64_t n_weights = 0;     // in them
  int64_t packed_bytes = 0;  // of their planes
  int64_t tensor_bytes = 0;  // of all tensors
};

// InvalidArgument, Unimplemented: what would be lost, of which layer. Nothing
// is left behind then.
absl::StatusOr<RepackResult> Repack(absl::string_view folder,
                                    const RepackOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REPACK_H_
