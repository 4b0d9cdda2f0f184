#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/gradients/device/device_gradients.h"

namespace narrow {
namespace {

using gradient_threads::LogitRows;
using gradient_threads::RowDraws;

absl::Status BenchDense(const ForwardSizes& sizes, Bench* bench) {
  const int64_t n = sizes.n_tokens * sizes.width;
  const std::string size =
      absl::StrCat(" of ", sizes.n_tokens, " x ", sizes.width);
  const auto numbers = static_cast<double>(n);
  gradient_threads::NormGradientTask norm = {};
  norm.x = norm.weight = bench->in();
  norm.gradient = bench->in() + n;
  norm.n_rows = sizes.n_tokens;
  norm.n = sizes.width;
  norm.eps = 1e-6f;
  norm.out = bench->out();
  RETURN_IF_ERROR(
      bench->Bytes(absl::StrCat("gradients of norms", size), 12 * numbers,
                   [&] { return RunGradients(norm, bench->stream()); }));
  const gradient_threads::GateGradientTask gate = {
      bench->in(),         bench->in() + n,
      bench->in() + n, row_threads::Gate::kSilu,
      sizes.n_tokens,      sizes.width,
      bench->out()};
  return bench->Bytes(absl::StrCat("gradients of gates", size), 20 * numbers,
                      [&] { return RunGradients(gate, bench->stream()); });
}

// Maxima, sums, draws, and the gradients in the logits' place: four passes.
absl::Status BenchDraws(const ForwardSizes& sizes, Bench* bench) {
  DeviceStream* const stream = bench->stream();
  const int64_t n = sizes.n_tokens;
  LogitRows all = {bench->out(), n, sizes.vocab, nullptr, nullptr, nullptr};
  const int64_t n_parts = n * all.n_parts();
  ASSIGN_OR_RETURN(const DeviceBuffer tops, bench->Allocate(4 * n));
  ASSIGN_OR_RETURN(const DeviceBuffer part_tops, bench->Allocate(4 * n_parts));
  ASSIGN_OR_RETURN(const DeviceBuffer part_sums, bench->Allocate(8 * n_parts));
  ASSIGN_OR_RETURN(const DeviceBuffer labels, bench->Allocate(4 * n));
  ASSIGN_OR_RETURN(const DeviceBuffer tokens, bench->Allocate(8 * n));
  ASSIGN_OR_RETURN(const DeviceBuffer draws,
                   bench->Allocate(n * static_cast<int64_t>(sizeof(RowDraws))));
  all.tops = tops.as<float>();
  all.part_tops = part_tops.as<float>();
  all.part_sums = part_sums.as<double>();
  RETURN_IF_ERROR(stream->Fill(0xff, labels.n_bytes(), labels.data()));
  RETURN_IF_ERROR(stream->Fill(0, tokens.n_bytes(), tokens.data()));
  RETURN_IF_ERROR(stream->Copy(
      bench->in(), static_cast<size_t>(4 * n * sizes.vocab), bench->out()));
  const auto work = [&]() -> absl::Status {
    RETURN_IF_ERROR(RunGradients(
        gradient_threads::PartTopTask{all, n_parts, sizes.vocab}, stream));
    RETURN_IF_ERROR(RunGradients(gradient_threads::RowTopTask{all}, stream));
    RETURN_IF_ERROR(RunGradients(
        gradient_threads::PartSumTask{all, n_parts, sizes.vocab}, stream));
    RETURN_IF_ERROR(RunGradients(
        gradient_threads::DrawTask{all, n, sizes.vocab, labels.as<int32_t>(),
                                   tokens.as<int64_t>(), 0, 1, 0,
                                   draws.as<RowDraws>()},
        stream));
    return RunGradients(
        gradient_threads::LogitGradientTask{all, draws.as<RowDraws>(), 0},
        stream);
  };
  return bench->Bytes(
      absl::StrCat("draws and gradients at logits of ", n, " x ", sizes.vocab),
      16 * static_cast<double>(n * sizes.vocab), work);
}

}  // namespace

absl::Status BenchGradients(const ForwardSizes& sizes, Bench* bench) {
  RETURN_IF_ERROR(BenchDense(sizes, bench));
  return BenchDraws(sizes, bench);
}

}  // namespace narrow
