// What is asked of a repacking, and what came of it. Plain values.

#ifndef NARROW_CONVERTER_REPACK_REPACK_OPTIONS_H_
#define NARROW_CONVERTER_REPACK_REPACK_OPTIONS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/quant_type.h"

namespace narrow {

struct RepackOptions {
  std::string format;  // a packing's name, or "gguf"
  // A folder that is not there yet, or is empty; with "gguf" a file.
  std::string out;
  // To GGUF: the type of integer matrices; nothing: the smallest that holds
  // them exactly.
  std::optional<QuantType> gguf_type;
  // From GGUF: quantized tensors that the packing cannot hold become dense, in
  // the model's type. Otherwise they are refused.
  bool allow_dense = false;
  // From GGUF: the model's type (HfExportOptions::dtype).
  std::string dtype = "auto";
  int64_t max_shard_bytes = 5'000'000'000;
  int n_threads = 1;
  // Called once with all bytes of the output, then with those written.
  std::function<void(int64_t)> on_size;
  std::function<void(int64_t)> on_written;
  // To a directory: called with it when it has all files and not yet its name.
  std::function<absl::Status(const std::string& folder)> before_finish;
  const std::atomic<bool>* cancelled = nullptr;
};

struct RepackResult {
  std::string from;  // names of packings, or "gguf"
  std::string to;
  int64_t n_layers = 0;
  int64_t n_weights = 0;     // in them
  int64_t packed_bytes = 0;  // of their planes or blocks
  int64_t tensor_bytes = 0;  // of all tensors
  // What is not as its reader may expect.
  std::vector<std::string> notes;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_REPACK_REPACK_OPTIONS_H_
