#include "kernels/device_bench/forward_bench.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "formats/base/status.h"
#include "kernels/attention/device/device_attention.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

constexpr int kRepeats = 5;
constexpr int64_t kTokens = 8192;
constexpr int64_t kWidth = 4096;

// A device, its stream, and memory full of random numbers.
class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> New(const Device& device,
                                                    int64_t n_floats) {
    std::unique_ptr<Bench> bench(new Bench(device));
    ASSIGN_OR_RETURN(bench->stream_, device.NewStream());
    for (DeviceBuffer* buffer : {&bench->in_, &bench->out_}) {
      ASSIGN_OR_RETURN(
          *buffer, device.Allocate(static_cast<size_t>(4 * n_floats), "bench"));
    }
    RETURN_IF_ERROR(bench->Randomize());
    return bench;
  }

  DeviceStream* stream() { return &stream_; }
  float* in() const { return in_.as<float>(); }
  float* out() const { return out_.as<float>(); }

  // Prints `amount` a second, in units of 10^12 or 10^9.
  absl::Status Time(const std::string& name, double amount, double unit,
                    const char* what,
                    const std::function<absl::Status()>& work) {
    std::vector<double> seconds;
    for (int i = 0; i <= kRepeats; ++i) {
      ASSIGN_OR_RETURN(DeviceEvent begin, device_.NewEvent());
      ASSIGN_OR_RETURN(DeviceEvent end, device_.NewEvent());
      RETURN_IF_ERROR(stream_.Record(&begin));
      RETURN_IF_ERROR(work());
      RETURN_IF_ERROR(stream_.Record(&end));
      RETURN_IF_ERROR(stream_.Synchronize(name));
      ASSIGN_OR_RETURN(const double its_seconds, begin.SecondsTo(end));
      if (i > 0) {
        seconds.push_back(its_seconds);
      }
    }
    std::sort(seconds.begin(), seconds.end());
    std::printf("%-44s %9.1f %s\n", name.c_str(),
                amount / seconds[kRepeats / 2] / unit, what);
    std::fflush(stdout);
    return absl::OkStatus();
  }

 private:
  explicit Bench(const Device& device) : device_(device) {}

  // The floats, and what they are as pairs of bfloat16, are finite.
  absl::Status Randomize() {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(1 << 20);
    for (float& number : numbers) {
      number = normal(generator);
    }
    const size_t piece = 4 * numbers.size();
    for (size_t at = 0; at < in_.n_bytes(); at += piece) {
      RETURN_IF_ERROR(stream_.Copy(numbers.data(),
                                   std::min(piece, in_.n_bytes() - at),
                                   in_.as<uint8_t>() + at));
    }
    return stream_.Synchronize("bench");
  }

  const Device device_;
  DeviceStream stream_;
  DeviceBuffer in_;
  DeviceBuffer out_;
};

absl::Status BenchProducts(DeviceProducts* products, Bench* bench) {
  const auto* halves = reinterpret_cast<const uint16_t*>(bench->in());
  // Both halves of a float as bfloat16: some are large, none is a NaN that
  // matters to speed.
  const tile::Product product = {{halves, kWidth, 1},
                                 {halves + kTokens * kWidth, kWidth, 1},
                                 kTokens,
                                 kWidth,
                                 kWidth,
                                 bench->out(),
                                 kWidth,
                                 false};
  return bench->Time("product of 8192 x 4096 x 4096, " + products->name(),
                     2.0 * kTokens * kWidth * kWidth, 1e12, "TFLOP/s", [&] {
                       return products->Multiply(product, bench->stream());
                     });
}

absl::Status BenchGram(const Device& device, DeviceProducts* products,
                       Bench* bench) {
  for (const int n_parts : {1, 2, 3}) {
    ASSIGN_OR_RETURN(auto gram,
                     DeviceGram::New(device, products, kWidth, {n_parts}));
    RETURN_IF_ERROR(bench->Time(
        "Gram matrix of 8192 x 4096, parts " + std::to_string(n_parts) + ", " +
            products->name(),
        1.0 * kTokens * kWidth * kWidth, 1e12, "TFLOP/s (rows^2 / 2)",
        [&] { return gram->Add(bench->in(), kTokens, bench->stream()); }));
  }
  return absl::OkStatus();
}

absl::Status BenchAttention(Bench* bench) {
  attention_threads::AttentionTask task = {};
  task.q = task.k = task.v = bench->in();
  task.out = bench->out();
  task.q_stride = task.out_stride = kWidth;
  task.kv_stride = kWidth / 4;
  task.n_sequences = kTokens / 2048;
  task.n_tokens = 2048;
  task.n_heads = 32;
  task.group = 4;
  task.head_dim = 128;
  task.scale = 0.088f;
  // Two products over half of all pairs.
  const double operations = 4.0 * kTokens * (2048 / 2) * kWidth;
  return bench->Time("attention, 4 x 2048 tokens, 32 heads of 128", operations,
                     1e12, "TFLOP/s",
                     [&] { return RunAttention(task, bench->stream()); });
}

absl::Status BenchRows(Bench* bench) {
  const row_threads::NormTask norm = {
      bench->in(), bench->in(),
      kTokens,     kWidth,
      1e-6f,       {nullptr, reinterpret_cast<uint16_t*>(bench->out())}};
  RETURN_IF_ERROR(bench->Time("norm of 8192 x 4096 to bfloat16",
                              6.0 * kTokens * kWidth, 1e9, "GB/s",
                              [&] { return RunRows(norm, bench->stream()); }));
  const row_threads::GateTask gate = {
      bench->in(),
      bench->in() + kTokens * kWidth,
      row_threads::Gate::kSilu,
      kTokens * kWidth,
      {nullptr, reinterpret_cast<uint16_t*>(bench->out())}};
  return bench->Time("gate of 8192 x 4096 to bfloat16", 10.0 * kTokens * kWidth,
                     1e9, "GB/s",
                     [&] { return RunRows(gate, bench->stream()); });
}

}  // namespace

absl::Status BenchForward(const Device& device) {
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, 2 * kTokens * kWidth));
  std::string note;
  ASSIGN_OR_RETURN(auto products, DeviceProducts::Open(device, &note));
  if (!note.empty()) {
    std::printf("%s\n", note.c_str());
  }
  const auto own = DeviceProducts::OfOwnKernels();
  RETURN_IF_ERROR(BenchProducts(products.get(), bench.get()));
  RETURN_IF_ERROR(BenchProducts(own.get(), bench.get()));
  RETURN_IF_ERROR(BenchGram(device, products.get(), bench.get()));
  RETURN_IF_ERROR(BenchAttention(bench.get()));
  return BenchRows(bench.get());
}

}  // namespace narrow
