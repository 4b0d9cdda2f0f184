#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/experts/device/device_experts.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using row_threads::RowScore;

// A device's copy of numbers.
template <typename T>
absl::StatusOr<DeviceBuffer> Upload(const std::vector<T>& values,
                                    Bench* bench) {
  ASSIGN_OR_RETURN(
      DeviceBuffer buffer,
      bench->device().Allocate(values.size() * sizeof(T), "bench"));
  RETURN_IF_ERROR(bench->stream()->Copy(
      values.data(), values.size() * sizeof(T), buffer.data()));
  RETURN_IF_ERROR(bench->stream()->Synchronize("bench"));
  return buffer;
}

absl::Status BenchDense(const ForwardSizes& sizes, Bench* bench) {
  const int64_t n = sizes.n_tokens * sizes.width;
  const std::string size =
      absl::StrCat(" of ", sizes.n_tokens, " x ", sizes.width);
  const auto numbers = static_cast<double>(n);
  const row_threads::NormTask norm = {
      bench->in(), bench->in(), sizes.n_tokens,
      sizes.width, 1e-6f,       {nullptr, bench->out_halves()}};
  RETURN_IF_ERROR(bench->Bytes(absl::StrCat("norm", size, " to bfloat16"),
                               6 * numbers,
                               [&] { return RunRows(norm, bench->stream()); }));
  const row_threads::GateTask gate = {bench->in(),
                                      bench->in() + n,
                                      row_threads::Gate::kSilu,
                                      n,
                                      {nullptr, bench->out_halves()}};
  RETURN_IF_ERROR(bench->Bytes(absl::StrCat("gate", size, " to bfloat16"),
                               10 * numbers,
                               [&] { return RunRows(gate, bench->stream()); }));
  const row_threads::MixTask mix = {bench->in(), 1, 1, 0, n, bench->out()};
  RETURN_IF_ERROR(bench->Bytes(absl::StrCat("residual", size), 12 * numbers,
                               [&] { return RunRows(mix, bench->stream()); }));
  const int64_t head_dim = sizes.width / sizes.n_heads;
  const row_threads::RotateTask rotate = {
      bench->out(), bench->in(), bench->in(),  sizes.n_tokens, sizes.n_heads,
      head_dim,     sizes.width, head_dim / 2, true,           sizes.sequence};
  return bench->Bytes(absl::StrCat("rotation", size), 8 * numbers,
                      [&] { return RunRows(rotate, bench->stream()); });
}

absl::Status BenchExpertRows(const ForwardSizes& sizes, Bench* bench) {
  std::vector<int32_t> rows;
  std::vector<float> weights;
  for (int64_t i = 0; i < sizes.n_tokens * sizes.n_used; ++i) {
    rows.push_back(
        static_cast<int32_t>(i * 7919 % (sizes.n_tokens * sizes.n_used)));
    weights.push_back(0.125f);
  }
  ASSIGN_OR_RETURN(const DeviceBuffer d_rows, Upload(rows, bench));
  ASSIGN_OR_RETURN(const DeviceBuffer d_weights, Upload(weights, bench));
  const int64_t n_rows = sizes.n_tokens * sizes.n_used;
  const expert_threads::GatherTask gather = {bench->in(), d_rows.as<int32_t>(),
                                             n_rows,      sizes.width,
                                             nullptr,     bench->out_halves()};
  RETURN_IF_ERROR(bench->Bytes(
      absl::StrCat("rows of ", sizes.n_used, " experts to bfloat16, ",
                   sizes.n_tokens, " x ", sizes.width),
      6 * static_cast<double>(n_rows * sizes.width),
      [&] { return RunGather(gather, bench->stream()); }));
  const expert_threads::CombineTask task = {
      bench->in(),    d_rows.as<int32_t>(), d_weights.as<float>(),
      sizes.n_tokens, sizes.n_used,         sizes.width,
      true,           bench->out()};
  const double bytes = 4.0 * static_cast<double>((sizes.n_used + 2) *
                                                 sizes.n_tokens * sizes.width);
  return bench->Bytes(absl::StrCat("sums of ", sizes.n_used, " experts of ",
                                   sizes.n_tokens, " x ", sizes.width),
                      bytes, [&] { return RunCombine(task, bench->stream()); });
}

absl::Status BenchLogits(const ForwardSizes& sizes, Bench* bench) {
  const std::vector<int32_t> targets(static_cast<size_t>(sizes.n_tokens), 1);
  ASSIGN_OR_RETURN(const DeviceBuffer d_targets, Upload(targets, bench));
  ASSIGN_OR_RETURN(const DeviceBuffer scores,
                   Upload(std::vector<RowScore>(targets.size()), bench));
  ASSIGN_OR_RETURN(const DeviceBuffer slices,
                   Upload(std::vector<RowScore>(targets.size()), bench));
  const row_threads::ScoreTask score = {bench->in(),
                                        d_targets.as<int32_t>(),
                                        sizes.n_tokens,
                                        sizes.vocab,
                                        0,
                                        256,
                                        2048,
                                        slices.as<RowScore>(),
                                        scores.as<RowScore>()};
  const std::string size =
      absl::StrCat(" of ", sizes.n_tokens, " x ", sizes.vocab);
  const auto numbers = static_cast<double>(sizes.n_tokens * sizes.vocab);
  RETURN_IF_ERROR(
      bench->Bytes(absl::StrCat("scores of logits", size), 4 * numbers,
                   [&] { return RunRows(score, bench->stream()); }));
  ASSIGN_OR_RETURN(
      const DeviceBuffer terms,
      Upload(std::vector<row_threads::SoftmaxTerms>(targets.size()), bench));
  ASSIGN_OR_RETURN(const DeviceBuffer sums,
                   Upload(std::vector<double>(targets.size()), bench));
  row_threads::SoftmaxTask softmax = {};
  softmax.logits = bench->in();
  softmax.n_rows = sizes.n_tokens;
  softmax.n = softmax.stride = sizes.vocab;
  softmax.targets = d_targets.as<int32_t>();
  softmax.terms = terms.as<row_threads::SoftmaxTerms>();
  row_threads::CrossTask cross = {};
  cross.p = bench->in();
  cross.q = bench->out();
  cross.n_rows = sizes.n_tokens;
  cross.n = cross.p_stride = cross.q_stride = sizes.vocab;
  cross.p_terms = softmax.terms;
  cross.sums = sums.as<double>();
  RETURN_IF_ERROR(bench->stream()->Copy(
      bench->in(), static_cast<size_t>(4 * bench->n_floats()), bench->out()));
  return bench->Bytes(absl::StrCat("divergences of logits", size), 12 * numbers,
                      [&]() -> absl::Status {
                        RETURN_IF_ERROR(RunRows(softmax, bench->stream()));
                        return RunRows(cross, bench->stream());
                      });
}

}  // namespace

absl::Status BenchRows(const ForwardSizes& sizes, Bench* bench) {
  RETURN_IF_ERROR(BenchDense(sizes, bench));
  RETURN_IF_ERROR(BenchExpertRows(sizes, bench));
  return BenchLogits(sizes, bench);
}

}  // namespace narrow
