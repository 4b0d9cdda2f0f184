#include "kernels/quant/device/encode_bench.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/device/device_encode.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

constexpr int64_t kCols = 4096;
constexpr int kRepeats = 5;

// Seconds that `work` takes in the stream, the median of a few.
absl::StatusOr<double> MedianSeconds(
    const Device& device, DeviceStream* stream,
    const std::function<absl::Status()>& work) {
  std::vector<double> seconds;
  for (int i = 0; i <= kRepeats; ++i) {
    ASSIGN_OR_RETURN(DeviceEvent begin, device.NewEvent());
    ASSIGN_OR_RETURN(DeviceEvent end, device.NewEvent());
    RETURN_IF_ERROR(stream->Record(&begin));
    RETURN_IF_ERROR(work());
    RETURN_IF_ERROR(stream->Record(&end));
    RETURN_IF_ERROR(stream->Synchronize("benchmark"));
    ASSIGN_OR_RETURN(const double its_seconds, begin.SecondsTo(end));
    if (i > 0) {  // the first warms up
      seconds.push_back(its_seconds);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// What a benchmark works on.
struct Memory {
  DeviceBuffer weights;
  DeviceBuffer importance;
  DeviceBuffer bytes;
  DeviceBuffer failed;
  DeviceBuffer mean_squares;
  DeviceBuffer decoded;
  int64_t n_rows;
};

// Rows of normal weights, a few thousand of them over and over.
absl::Status FillWeights(DeviceStream* stream, Memory* memory) {
  const int64_t n_rows = std::min<int64_t>(memory->n_rows, 1024);
  std::vector<uint16_t> halves;
  for (const float weight : TestWeights(Distribution::kNormal, n_rows, kCols)) {
    halves.push_back(Bf16FromFloat(weight));
  }
  for (int64_t row = 0; row < memory->n_rows; row += n_rows) {
    const int64_t n = std::min(n_rows, memory->n_rows - row) * kCols;
    RETURN_IF_ERROR(stream->Copy(halves.data(), static_cast<size_t>(2 * n),
                                 memory->weights.as<uint16_t>() + row * kCols));
  }
  const std::vector<float> importance =
      TestImportance(ImportanceKind::kVaried, kCols);
  RETURN_IF_ERROR(stream->Copy(importance.data(), 4 * importance.size(),
                               memory->importance.data()));
  return stream->Synchronize("benchmark");
}

absl::StatusOr<Memory> NewMemory(const Device& device, int64_t n_rows) {
  const auto n = static_cast<size_t>(n_rows * kCols);
  Memory memory;
  memory.n_rows = n_rows;
  ASSIGN_OR_RETURN(memory.weights, device.Allocate(2 * n, "weights"));
  ASSIGN_OR_RETURN(memory.importance, device.Allocate(4 * kCols, "importance"));
  ASSIGN_OR_RETURN(memory.bytes, device.Allocate(2 * n, "blocks"));
  ASSIGN_OR_RETURN(memory.decoded, device.Allocate(2 * n, "weights"));
  ASSIGN_OR_RETURN(memory.failed, device.Allocate(n / 32 + 4, "flags"));
  ASSIGN_OR_RETURN(
      memory.mean_squares,
      device.Allocate(4 * static_cast<size_t>(n_rows), "mean squares"));
  return memory;
}

absl::Status BenchType(const Device& device, const BlockCodec& codec,
                       bool with_importance, const Memory& memory,
                       double copy_rate, DeviceStream* stream) {
  ASSIGN_OR_RETURN(const DeviceTables tables,
                   DeviceTables::Copy(device, codec.type, stream));
  team::EncodeTask task;
  task.weights = memory.weights.data();
  task.is_bf16 = true;
  task.n_rows = memory.n_rows;
  task.n_cols = kCols;
  task.importance = with_importance ? memory.importance.as<float>() : nullptr;
  task.mean_squares = memory.mean_squares.as<float>();
  task.tables = tables.tables();
  task.bytes = memory.bytes.as<uint8_t>();
  task.failed = memory.failed.as<uint8_t>();
  task.n_failed = reinterpret_cast<uint32_t*>(
      memory.failed.as<uint8_t>() + memory.failed.n_bytes() / 4 * 4 - 4);
  ASSIGN_OR_RETURN(const double seconds, MedianSeconds(device, stream, [&] {
                     return RunEncode(codec.type, task, stream);
                   }));
  const auto n_weights = static_cast<double>(memory.n_rows * kCols);
  const double out = n_weights * Geometry(codec.type).bits_per_weight() / 8;
  const double limit = (2 * n_weights + out) / copy_rate;
  std::printf("%-8s %-10s %9.1f GB/s %6.1f %% of the memory's rate\n",
              TypeName(codec.type), with_importance ? "importance" : "",
              2 * n_weights / seconds * 1e-9, 100 * limit / seconds);
  std::fflush(stdout);
  return absl::OkStatus();
}

// Blocks to bfloat16. What the blocks hold does not matter to speed.
absl::Status BenchDecode(const Device& device, QuantType type,
                         const Memory& memory, double copy_rate,
                         DeviceStream* stream) {
  ASSIGN_OR_RETURN(const DeviceTables tables,
                   DeviceTables::Copy(device, type, stream));
  const int64_t n = memory.n_rows * kCols;
  team::DecodeTask task;
  task.bytes = memory.bytes.as<uint8_t>();
  task.n_blocks = n / Geometry(type).block_weights;
  task.tables = tables.tables();
  task.halves = memory.decoded.as<uint16_t>();
  ASSIGN_OR_RETURN(const double seconds, MedianSeconds(device, stream, [&] {
                     return RunDecode(type, task, stream);
                   }));
  const auto n_weights = static_cast<double>(n);
  const double in = n_weights * Geometry(type).bits_per_weight() / 8;
  const double limit = (in + 2 * n_weights) / copy_rate;
  std::printf("%-8s decode     %9.1f GB/s %6.1f %% of the memory's rate\n",
              TypeName(type), 2 * n_weights / seconds * 1e-9,
              100 * limit / seconds);
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchEncode(const Device& device, int64_t n_weights) {
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  ASSIGN_OR_RETURN(Memory memory,
                   NewMemory(device, std::max<int64_t>(1, n_weights / kCols)));
  RETURN_IF_ERROR(FillWeights(&stream, &memory));
  const size_t n_bytes = memory.weights.n_bytes();
  ASSIGN_OR_RETURN(const double copy, MedianSeconds(device, &stream, [&] {
                     return stream.Copy(memory.weights.data(), n_bytes,
                                        memory.bytes.data());
                   }));
  const double copy_rate = 2 * static_cast<double>(n_bytes) / copy;
  std::printf("copy within the device: %.0f GB/s, read and written\n",
              copy_rate * 1e-9);
  for (const BlockCodec* codec : AllCodecs()) {
    if (HasDeviceCode(codec->type)) {
      RETURN_IF_ERROR(
          BenchDecode(device, codec->type, memory, copy_rate, &stream));
    }
    for (const bool with_importance : {false, true}) {
      const bool has = with_importance ? codec->uses_importance
                                       : !codec->requires_importance;
      if (codec->block == 1 || !has ||
          Geometry(codec->type).block_weights > kCols) {
        continue;
      }
      RETURN_IF_ERROR(BenchType(device, *codec, with_importance, memory,
                                copy_rate, &stream));
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
