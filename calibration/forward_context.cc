#include "calibration/forward_context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace narrow {

ForwardContext::ForwardContext(const Checkpoint* model, ProductType type,
                               const RunnerOptions& options)
    : model(model),
      pool(options.n_threads),
      rows(RowKernelsForCpu()),
      products(type),
      exact(type == ProductType::kReproducible ? type : ProductType::kF32),
      weights(model, &pool, options.max_cached_bytes),
      times(options.times != nullptr ? options.times : &unasked_times) {}

bool IsSliding(const ModelConfig& config, int64_t block) {
  const std::vector<bool>& is_sliding = config.layer_is_sliding;
  return config.sliding_window > 0 &&
         static_cast<size_t>(block) < is_sliding.size() &&
         is_sliding[static_cast<size_t>(block)];
}

absl::Status NotFinite(const Checkpoint& model, absl::string_view what,
                       int64_t window, int64_t token) {
  return absl::DataLossError(
      absl::StrCat(what, ": not finite, first at window ", window, ", token ",
                   token, "; reading ", model.path()));
}

absl::Status CheckFinite(ForwardContext* context, const HiddenStates& hidden,
                         absl::string_view where) {
  const int64_t n_rows = hidden.n_windows * hidden.window_tokens;
  FirstRow bad;
  ForEachRow(&context->pool, n_rows, [&](int64_t r) {
    if (!context->rows.all_finite(hidden.row(0, r), hidden.hidden_size)) {
      bad.Note(r);
    }
  });
  if (!bad.found()) {
    return absl::OkStatus();
  }
  return NotFinite(*context->model,
                   absl::StrCat("the hidden state after ", where),
                   hidden.first_window + bad.row() / hidden.window_tokens,
                   bad.row() % hidden.window_tokens);
}

absl::Status Observe(Observer* observer, absl::string_view name,
                     int64_t first_token, const Activations& x,
                     const HiddenStates* added_to) {
  if (observer == nullptr) {
    return absl::OkStatus();
  }
  LayerInput input;
  input.name = name;
  input.rows = x.values.data();
  input.n_rows = x.n_rows;
  input.n_cols = x.n_cols;
  input.first_token = first_token;
  if (added_to != nullptr) {
    input.residual = added_to->row(0, first_token);
    input.residual_cols = added_to->hidden_size;
  }
  return observer->OnInput(input);
}

absl::Status ObserveExpert(Observer* observer, absl::string_view name,
                           int expert, absl::Span<const int64_t> tokens,
                           const Activations& x) {
  if (observer == nullptr) {
    return absl::OkStatus();
  }
  LayerInput input;
  input.name = name;
  input.expert = expert;
  input.rows = x.values.data();
  input.n_rows = x.n_rows;
  input.n_cols = x.n_cols;
  input.tokens = tokens;
  return observer->OnInput(input);
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
