#include "calibration/forward_context.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"

namespace narrow {

ForwardContext::ForwardContext(const Checkpoint* model, ProductType type,
                               const RunnerOptions& options)
    : model(model),
      pool(options.n_threads),
      rows(RowKernelsForCpu()),
      products(type),
      exact(ProductType::kF32),
      weights(model, &pool, options.max_cached_bytes),
      times(options.times != nullptr ? options.times : &unasked_times) {}

absl::Status CheckFinite(ForwardContext* context, const HiddenStates& hidden,
                         absl::string_view where) {
  const int64_t n_rows = hidden.n_windows * hidden.window_tokens;
  std::atomic<int64_t> first_bad{n_rows};
  ForEachRow(&context->pool, n_rows, [&](int64_t r) {
    if (!context->rows.all_finite(hidden.row(0, r), hidden.hidden_size)) {
      int64_t seen = first_bad.load();
      while (r < seen && !first_bad.compare_exchange_weak(seen, r)) {
      }
    }
  });
  if (first_bad == n_rows) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "hidden states are not finite after ", where, ", first at window ",
      first_bad / hidden.window_tokens, ", token ",
      first_bad % hidden.window_tokens, "; reading ", context->model->path()));
}

absl::Status Observe(Observer* observer, absl::string_view name, int expert,
                     const Activations& x) {
  if (observer == nullptr) {
    return absl::OkStatus();
  }
  return observer->OnInput(name, expert, x.values.data(), x.n_rows, x.n_cols);
}

void AddBias(const RowKernels& rows, const std::vector<float>& bias,
             const Tile& tile) {
  if (bias.empty()) {
    return;
  }
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    rows.add_scaled(bias.data() + tile.first_col, 1, tile.n_cols,
                    tile.values + r * tile.n_cols);
  }
}

int64_t WindowsPerStep(const HiddenStates& hidden) {
  constexpr int64_t kRows = 1024;
  return std::max<int64_t>(1,
                           kRows / std::max<int64_t>(1, hidden.window_tokens));
}

}  // namespace narrow
