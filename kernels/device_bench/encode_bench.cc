#include "kernels/device_bench/encode_bench.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/device_bench/bench.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/device/device_encode.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

constexpr int64_t kCols = 4096;

// GB/s of bfloat16 that are asked of some types.
double AskedOf(QuantType type) {
  return type == QuantType::kQ4_K ? 100 : type == QuantType::kIQ2_XS ? 10 : 0;
}

class EncodeBench {
 public:
  EncodeBench(Bench* bench, int64_t n_rows)
      : bench_(*bench),
        stream_(*bench->stream()),
        n_rows_(n_rows),
        n_weights_(static_cast<double>(n_rows * kCols)) {}

  absl::Status Begin() {
    ASSIGN_OR_RETURN(importance_, bench_.Allocate(4 * kCols));
    ASSIGN_OR_RETURN(failed_, bench_.Allocate(n_rows_ * kCols / 32 + 4));
    ASSIGN_OR_RETURN(mean_squares_, bench_.Allocate(4 * n_rows_));
    return FillWeights();
  }

  absl::Status Encode(const BlockCodec& codec, bool with_importance) {
    ASSIGN_OR_RETURN(const DeviceTables tables,
                     DeviceTables::Copy(bench_.device(), codec.type, &stream_));
    team::EncodeTask task;
    task.weights = bench_.in_halves();
    task.is_bf16 = true;
    task.n_rows = n_rows_;
    task.n_cols = kCols;
    task.importance = with_importance ? importance_.as<float>() : nullptr;
    task.mean_squares = mean_squares_.as<float>();
    task.tables = tables.tables();
    task.bytes = reinterpret_cast<uint8_t*>(bench_.out());
    task.failed = failed_.as<uint8_t>();
    task.n_failed = reinterpret_cast<uint32_t*>(failed_.as<uint8_t>() +
                                                failed_.n_bytes() / 4 * 4 - 4);
    const std::string name =
        absl::StrCat(TypeName(codec.type), " encoded",
                     with_importance ? " with importance" : "");
    RETURN_IF_ERROR(bench_.Bytes(
        name, 2 * n_weights_,
        [&] { return RunEncode(codec.type, task, &stream_); },
        Moved(codec.type)));
    if (AskedOf(codec.type) > 0) {
      bench_.summary()->AtLeast(absl::StrCat(name, ", bfloat16 in"),
                                AskedOf(codec.type), bench_.last_rate(), "GB/s",
                                bench_.LastBound("the memory's rate"));
    }
    return absl::OkStatus();
  }

  // Blocks to bfloat16. What the blocks hold does not matter to speed.
  absl::Status Decode(QuantType type) {
    ASSIGN_OR_RETURN(const DeviceTables tables,
                     DeviceTables::Copy(bench_.device(), type, &stream_));
    team::DecodeTask task;
    task.bytes = reinterpret_cast<const uint8_t*>(bench_.in());
    task.n_blocks = n_rows_ * kCols / Geometry(type).block_weights;
    task.tables = tables.tables();
    task.halves = bench_.out_halves();
    return bench_.Bytes(
        absl::StrCat(TypeName(type), " decoded"), 2 * n_weights_,
        [&] { return RunDecode(type, task, &stream_); }, Moved(type));
  }

 private:
  double Moved(QuantType type) const {
    return n_weights_ * (2 + Geometry(type).bits_per_weight() / 8);
  }

  // Rows of normal weights, a few thousand of them over and over.
  absl::Status FillWeights() {
    const int64_t n_own = std::min<int64_t>(n_rows_, 1024);
    std::vector<uint16_t> halves;
    for (const float weight :
         TestWeights(Distribution::kNormal, n_own, kCols)) {
      halves.push_back(Bf16FromFloat(weight));
    }
    for (int64_t row = 0; row < n_rows_; row += n_own) {
      const int64_t n = std::min(n_own, n_rows_ - row) * kCols;
      RETURN_IF_ERROR(stream_.Copy(halves.data(), static_cast<size_t>(2 * n),
                                   bench_.in_halves() + row * kCols));
    }
    const std::vector<float> importance =
        TestImportance(ImportanceKind::kVaried, kCols);
    RETURN_IF_ERROR(stream_.Copy(importance.data(), 4 * importance.size(),
                                 importance_.data()));
    return stream_.Synchronize("bench");
  }

  Bench& bench_;
  DeviceStream& stream_;
  const int64_t n_rows_;
  const double n_weights_;
  DeviceBuffer importance_;
  DeviceBuffer failed_;
  DeviceBuffer mean_squares_;
};

}  // namespace

absl::Status BenchEncode(const Device& device, int64_t n_weights,
                         BenchSummary* summary) {
  const int64_t n_rows = std::max<int64_t>(1, n_weights / kCols);
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_rows * kCols / 2, summary));
  EncodeBench encode(bench.get(), n_rows);
  RETURN_IF_ERROR(encode.Begin());
  for (const BlockCodec* codec : AllCodecs()) {
    if (HasDeviceCode(codec->type)) {
      RETURN_IF_ERROR(encode.Decode(codec->type));
    }
    for (const bool with_importance : {false, true}) {
      const bool has = with_importance ? codec->uses_importance
                                       : !codec->requires_importance;
      if (codec->block != 1 && has &&
          Geometry(codec->type).block_weights <= kCols) {
        RETURN_IF_ERROR(encode.Encode(*codec, with_importance));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
