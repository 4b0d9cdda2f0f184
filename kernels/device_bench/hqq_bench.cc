#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/solver_bench.h"
#include "kernels/device_bench/solver_layers.h"
#include "kernels/half_quadratic/device/device_hqq.h"

namespace narrow {
namespace {

using hqq_threads::Batch;
using hqq_threads::GroupErrors;

// Groups of 64, sixteen neighbours a batch.
constexpr int64_t kGroup = 64;

std::vector<Batch> BatchesOf(int64_t n_weights) {
  std::vector<Batch> batches;
  constexpr int64_t kWeights = kGroup * kGroupsAside;
  for (int64_t first = 0; first + kWeights <= n_weights; first += kWeights) {
    batches.push_back(
        {first, kGroup, kGroupsAside, kGroup, first / kGroup, 1, first});
  }
  return batches;
}

}  // namespace

absl::Status BenchHqq(const SolverSizes& sizes, Bench* bench) {
  const int64_t n_weights = sizes.n_rows * sizes.n_cols;
  const std::vector<Batch> batches = BatchesOf(n_weights);
  const auto n_batches = static_cast<int64_t>(batches.size());
  ASSIGN_OR_RETURN(
      const DeviceBuffer d_batches,
      bench->Allocate(n_batches * static_cast<int64_t>(sizeof(Batch))));
  ASSIGN_OR_RETURN(const DeviceBuffer scales,
                   bench->Allocate(8 * n_weights / kGroup));
  ASSIGN_OR_RETURN(const DeviceBuffer codes, bench->Allocate(n_weights));
  ASSIGN_OR_RETURN(const DeviceBuffer errors,
                   bench->Allocate(n_batches * kGroupsAside *
                                   static_cast<int64_t>(sizeof(GroupErrors))));
  RETURN_IF_ERROR(bench->stream()->Copy(batches.data(), d_batches.n_bytes(),
                                        d_batches.data()));
  hqq_threads::Task task = {};
  task.batches = d_batches.as<Batch>();
  task.n_batches = n_batches;
  task.weights = bench->in();
  task.n_cols = sizes.n_cols;
  task.x = bench->out();
  task.stored = hqq_threads::Stored::kF16;
  task.high = 15;
  task.power = 0.7f;
  task.beta = 10;
  task.beta_growth = 1.01f;
  task.iterations = 20;
  task.refit = true;
  task.scales = scales.as<float>();
  task.zeros = scales.as<float>() + n_weights / kGroup;
  task.codes = codes.as<uint8_t>();
  task.errors = errors.as<GroupErrors>();
  return bench->Bytes(absl::StrCat("HQQ, groups of ", kGroup, ", ",
                                   SizeOf(sizes.n_rows, sizes.n_cols)),
                      4 * static_cast<double>(n_weights),
                      [&] { return RunHqq(task, bench->stream()); });
}

}  // namespace narrow
