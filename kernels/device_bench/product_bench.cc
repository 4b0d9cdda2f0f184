#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/matmul/device/row_groups.h"

namespace narrow {
namespace {

absl::Status BenchProduct(const ForwardSizes& sizes, DeviceProducts* products,
                          Bench* bench) {
  const int64_t n = sizes.width;
  tile::Product product = {{bench->in_halves(), n, 1},
                           {bench->in_halves() + sizes.n_tokens * n, n, 1},
                           sizes.n_tokens,
                           n,
                           n,
                           bench->out(),
                           n,
                           false};
  const double operations = 2.0 * static_cast<double>(sizes.n_tokens * n * n);
  const std::string size = absl::StrCat(sizes.n_tokens, " x ", n, " x ", n);
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("product ", size, ", ", products->name()), operations,
      [&] { return products->Multiply(product, bench->stream()); }));
  product.halves = bench->out_halves();
  return bench->Operations(absl::StrCat("... to bfloat16"), operations, [&] {
    return products->Multiply(product, bench->stream());
  });
}

// The same chains for any tiling, without tensor cores.
absl::Status BenchInOrder(const ForwardSizes& sizes, DeviceProducts* products,
                          Bench* bench) {
  const int64_t n = sizes.width;
  const int64_t n_rows = sizes.n_tokens / 8;
  const tile::Product product = {{bench->in_halves(), n, 1},
                                 {bench->in_halves() + n_rows * n, n, 1},
                                 n_rows,
                                 n,
                                 n,
                                 bench->out(),
                                 n,
                                 false};
  return bench->Operations(
      absl::StrCat("product in order, ", n_rows, " x ", n, " x ", n),
      2.0 * static_cast<double>(n_rows * n * n),
      [&] { return products->MultiplyInOrder(product, bench->stream()); });
}

// Tokens spread evenly over experts, or all on a few of them.
absl::Status BenchExperts(const ForwardSizes& sizes, bool even,
                          DeviceProducts* products, Bench* bench) {
  const int64_t n_rows = sizes.n_tokens * sizes.n_used;
  const int64_t n_busy = even ? sizes.n_experts : sizes.n_used;
  std::vector<int64_t> offsets = {0};
  std::vector<int32_t> tokens;
  for (int64_t e = 0; e < sizes.n_experts; ++e) {
    offsets.push_back(e < n_busy ? n_rows * (e + 1) / n_busy : n_rows);
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    tokens.push_back(static_cast<int32_t>(i * 7919 % sizes.n_tokens));
  }
  ASSIGN_OR_RETURN(DeviceBuffer gather,
                   bench->device().Allocate(4 * tokens.size(), "bench"));
  RETURN_IF_ERROR(
      bench->stream()->Copy(tokens.data(), 4 * tokens.size(), gather.data()));
  ASSIGN_OR_RETURN(const RowGroups groups,
                   RowGroups::Copy(bench->device(), offsets, bench->stream()));
  RETURN_IF_ERROR(bench->stream()->Synchronize("bench"));
  tensor_tile::Task task;
  task.product = {{bench->in_halves(), sizes.width, 1},
                  {bench->in_halves(), sizes.width, 1},
                  n_rows,
                  sizes.expert_width,
                  sizes.width,
                  bench->out(),
                  sizes.expert_width,
                  false};
  task.right_group = sizes.expert_width * sizes.width;
  task.gather = gather.as<int32_t>();
  groups.Set(&task);
  return bench->Operations(
      absl::StrCat(n_busy, " of ", sizes.n_experts, " experts, ",
                   sizes.expert_width, " x ", sizes.width, ", ", n_rows,
                   " rows"),
      2.0 * static_cast<double>(n_rows * sizes.expert_width * sizes.width),
      [&] { return products->MultiplyGroups(task, bench->stream()); });
}

absl::Status BenchGram(const ForwardSizes& sizes, DeviceProducts* products,
                       Bench* bench) {
  for (const int n_parts : {1, 2, 3}) {
    ASSIGN_OR_RETURN(auto gram, DeviceGram::New(bench->device(), products,
                                                sizes.width, {n_parts}));
    // Operations of one product of what is on or above the diagonal.
    RETURN_IF_ERROR(bench->Operations(
        absl::StrCat("Gram matrix of ", sizes.n_tokens, " x ", sizes.width,
                     ", parts ", n_parts, ", ", products->name()),
        static_cast<double>(sizes.n_tokens * sizes.width * sizes.width), [&] {
          return gram->Add(bench->in(), sizes.n_tokens, bench->stream());
        }));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchProducts(const ForwardSizes& sizes, Bench* bench) {
  std::string note;
  ASSIGN_OR_RETURN(auto products, DeviceProducts::Open(bench->device(), &note));
  if (!note.empty()) {
    std::printf("%s\n", note.c_str());
  }
  const auto own = DeviceProducts::OfOwnKernels();
  if (products->name() != own->name()) {
    RETURN_IF_ERROR(BenchProduct(sizes, products.get(), bench));
  }
  RETURN_IF_ERROR(BenchProduct(sizes, own.get(), bench));
  RETURN_IF_ERROR(BenchInOrder(sizes, own.get(), bench));
  RETURN_IF_ERROR(BenchExperts(sizes, /*even=*/true, own.get(), bench));
  RETURN_IF_ERROR(BenchExperts(sizes, /*even=*/false, own.get(), bench));
  return BenchGram(sizes, products.get(), bench);
}

}  // namespace narrow
