// GPTQ of all layers of a model, without disk: the statistics, and each of a
// block's matrices, taken a number of times. Layers are alike, so that one of
// each shape is timed.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "kernels/device_bench/solver_bench.h"
#include "kernels/device_bench/solver_layers.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/device/fast_linalg.h"

namespace narrow {
namespace {

// Rows of a Gram matrix that are timed.
constexpr int64_t kRows = 8192;

// Seconds of all layers.
struct Seconds {
  double gram = 0;
  double solve = 0;
};

// The processor's bits, and what has other last digits.
struct Ways {
  Seconds exact;
  Seconds fast;
};

class GptqBench {
 public:
  GptqBench(Bench* bench, FastLinalg* fast, const GptqSizes& sizes)
      : bench_(*bench), fast_(*fast), sizes_(sizes) {}

  absl::Status Run() {
    // q, k and v have one input, gate and up another.
    const int64_t width = sizes_.width;
    RETURN_IF_ERROR(Gram(width, 3));
    RETURN_IF_ERROR(Gram(sizes_.inner, 1));
    RETURN_IF_ERROR(Matrix(width, width, 2));
    RETURN_IF_ERROR(Matrix(sizes_.kv_width, width, 2));
    RETURN_IF_ERROR(Matrix(sizes_.inner, width, 2));
    return Matrix(width, sizes_.inner, 1);
  }
  const Ways& ways() const { return ways_; }

 private:
  double Times(int64_t of_layer) const {
    return static_cast<double>(of_layer * sizes_.n_layers);
  }

  // In chains, and on tensor cores.
  absl::Status Gram(int64_t n, int64_t of_layer) {
    DeviceStream* const stream = bench_.stream();
    const int64_t n_rows = std::min(kRows, sizes_.n_tokens);
    const double chunks = static_cast<double>(sizes_.n_tokens) /
                          static_cast<double>(n_rows) * Times(of_layer);
    ASSIGN_OR_RETURN(const DeviceBuffer sums, bench_.Allocate(8 * n * n));
    RETURN_IF_ERROR(stream->Fill(0, sums.n_bytes(), sums.data()));
    chain::GramTask task;
    task.left = task.right = bench_.in();
    task.left_stride = task.right_stride = task.m = task.n = n;
    task.n_rows = n_rows;
    task.upper = true;
    task.sums = sums.as<double>();
    task.sums_stride = n;
    const std::string size = SizeOf(n_rows, n);
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("Gram matrix in chains, ", size), Cube(n_rows, n, n),
        [&] { return RunGram(task, stream); }, Units::kFloat32));
    ways_.exact.gram += bench_.last_seconds() * chunks;
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("Gram matrix, bfloat16, ", size), Cube(n_rows, n, n),
        [&] { return fast_.grams()->Add(task, stream); }));
    ways_.fast.gram += bench_.last_seconds() * chunks;
    bench_.summary()->AtLeast(
        absl::StrCat("Gram matrix of ", n, " columns, bfloat16"), 300,
        bench_.last_rate(), "TFLOP/s",
        bench_.LastBound("the tensor cores' peak"));
    return absl::OkStatus();
  }

  absl::Status Matrix(int64_t rows, int64_t n, int64_t of_layer) {
    RETURN_IF_ERROR(Matrix(rows, n, of_layer, nullptr, &ways_.exact));
    return Matrix(rows, n, of_layer, &fast_, &ways_.fast);
  }
  absl::Status Matrix(int64_t rows, int64_t n, int64_t of_layer,
                      FastLinalg* fast, Seconds* seconds) {
    ASSIGN_OR_RETURN(auto layers, SolverLayers::New(&bench_, 1, rows, n,
                                                    sizes_.group, fast));
    // A factor, feedback, and rounds of descent between two measurements.
    const double operations = Cube(n, n, n) / 3 + Cube(rows, n, n) +
                              (4.0 + 2 * sizes_.rounds) * Cube(rows, n, n);
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("GPTQ, int4 of groups of ", sizes_.group, ", ",
                     SizeOf(rows, n), fast == nullptr ? "" : ", fast"),
        operations, [&] { return layers->Solve(sizes_.rounds); },
        Units::kFloat32));
    seconds->solve += bench_.last_seconds() * Times(of_layer);
    return absl::OkStatus();
  }

  Bench& bench_;
  FastLinalg& fast_;
  const GptqSizes sizes_;
  Ways ways_;
};

}  // namespace

absl::Status BenchGptq(const Device& device, const GptqSizes& sizes,
                       double seconds_a_token, BenchSummary* summary) {
  const int64_t n_floats =
      std::max({std::min(kRows, sizes.n_tokens) * sizes.inner,
                sizes.inner * sizes.width, 2 * sizes.inner});
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats, summary));
  ASSIGN_OR_RETURN(auto fast, FastLinalg::Open(device));
  GptqBench gptq(bench.get(), fast.get(), sizes);
  RETURN_IF_ERROR(gptq.Run());
  // One pass to observe a block, one with its weights as they are stored.
  const double forward =
      2 * seconds_a_token * static_cast<double>(sizes.n_tokens);
  const auto add = [&](const std::string& how, const Seconds& seconds) {
    summary->AtMost(
        absl::StrCat("GPTQ, 4 bits, groups of ", sizes.group, ", all ",
                     sizes.n_layers, " layers, ", sizes.n_tokens, " tokens, ",
                     how),
        120, seconds.gram + seconds.solve + forward, "s",
        absl::StrFormat("Gram matrices %.1f s, solving %.1f s, forward passes "
                        "%.1f s",
                        seconds.gram, seconds.solve, forward));
  };
  add("the processor's bits", gptq.ways().exact);
  add("fast", gptq.ways().fast);
  return absl::OkStatus();
}

}  // namespace narrow
