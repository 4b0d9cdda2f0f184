#include "calibration/device/compare_logits.h"

#include <algorithm>
#include <cassert>

#include "formats/base/status.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using row_threads::SoftmaxTerms;

constexpr char kWhat[] = "comparisons of logits";

// The terms of both models, over all tokens and over the common ones, and the
// sums of both, one after the other.
constexpr size_t kSets = 4;

}  // namespace

absl::StatusOr<std::vector<LogitTerms>> CompareOnDevice(
    const Device& device, const DeviceLogits& p, const DeviceLogits& q,
    absl::Span<const int32_t> targets) {
  assert(p.n_rows == q.n_rows);
  const auto n = static_cast<size_t>(p.n_rows);
  const int64_t n_common = std::min(p.n_vocab, q.n_vocab);
  const size_t set_bytes = n * sizeof(SoftmaxTerms);
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  ASSIGN_OR_RETURN(
      const DeviceBuffer memory,
      device.Allocate(kSets * set_bytes + n * sizeof(double) + n * 4, kWhat));
  auto* const terms = memory.as<SoftmaxTerms>();
  auto* const cross = reinterpret_cast<double*>(terms + kSets * n);
  auto* const its_targets = reinterpret_cast<int32_t*>(cross + n);
  std::vector<int32_t> wanted(targets.begin(), targets.end());
  wanted.resize(n, -1);
  RETURN_IF_ERROR(stream.Copy(wanted.data(), n * 4, its_targets));
  const auto softmax = [&](const DeviceLogits& logits, int64_t n_tokens,
                           size_t set) {
    return RunRows(
        row_threads::SoftmaxTask{logits.memory.as<float>(), logits.n_rows,
                                 n_tokens, logits.n_vocab, its_targets,
                                 terms + set * n},
        &stream);
  };
  RETURN_IF_ERROR(softmax(p, p.n_vocab, 0));
  RETURN_IF_ERROR(softmax(q, q.n_vocab, 1));
  // Where vocabularies are the same, so are these.
  const size_t p_common = p.n_vocab == n_common ? 0 : 2;
  const size_t q_common = q.n_vocab == n_common ? 1 : 3;
  if (p_common == 2) {
    RETURN_IF_ERROR(softmax(p, n_common, p_common));
  }
  if (q_common == 3) {
    RETURN_IF_ERROR(softmax(q, n_common, q_common));
  }
  RETURN_IF_ERROR(
      RunRows(row_threads::CrossTask{p.memory.as<float>(), q.memory.as<float>(),
                                     p.n_rows, n_common, p.n_vocab, q.n_vocab,
                                     terms + p_common * n, cross},
              &stream));
  std::vector<SoftmaxTerms> all(kSets * n);
  std::vector<double> sums(n);
  RETURN_IF_ERROR(stream.Copy(terms, kSets * set_bytes, all.data()));
  RETURN_IF_ERROR(stream.Copy(cross, n * sizeof(double), sums.data()));
  RETURN_IF_ERROR(stream.Synchronize(kWhat));
  std::vector<LogitTerms> result(n);
  for (size_t r = 0; r < n; ++r) {
    result[r] = {all[r], all[n + r], all[p_common * n + r],
                 all[q_common * n + r], sums[r]};
  }
  return result;
}

}  // namespace narrow
