#include "converter/fit/memory_need.h"

#include <algorithm>
#include <iterator>

namespace narrow {
namespace {

constexpr int64_t kStep = 256;  // of contexts
constexpr int64_t kMostBytes = int64_t{1} << 60;

constexpr QuantType kGgufTypes[] = {
    QuantType::kF32,  QuantType::kF16,  QuantType::kBF16,
    QuantType::kQ8_0, QuantType::kQ4_0, QuantType::kQ4_1,
    QuantType::kQ5_0, QuantType::kQ5_1, QuantType::kIQ4_NL};
constexpr QuantType kPackedTypes[] = {QuantType::kF32, QuantType::kF16,
                                      QuantType::kBF16, QuantType::kF8E4M3,
                                      QuantType::kF8E5M2};

CacheSize CacheOf(const FitShape& shape, const FitRequest& request,
                  const CacheTypes& types, int64_t context) {
  if (request.cache_bytes.has_value() || !shape.layout.has_value()) {
    CacheSize size;
    size.full_bytes = request.cache_bytes.value_or(0);
    return size;
  }
  CacheUse use = request.use;
  use.context = context;
  return CacheBytes(*shape.layout, types, use);
}

int64_t ComputeOf(const FitShape& shape, const FitRequest& request,
                  int64_t context) {
  CacheUse use = request.use;
  use.context = context;
  return request.compute_bytes.has_value() ? *request.compute_bytes
                                           : ComputeAllowance(shape, use);
}

// Each addend is at most 2^60, so the sum of at most five does not overflow.
int64_t TotalOf(const FitChoice& option, const FitShape& shape,
                const FitRequest& request, const CacheTypes& types,
                int64_t context) {
  return std::min(option.tensor_bytes, kMostBytes) +
         std::min(CacheOf(shape, request, types, context).bytes(), kMostBytes) +
         std::min(ComputeOf(shape, request, context), kMostBytes) +
         std::min(request.reserve, kMostBytes);
}

int64_t MostContext(const FitChoice& option, const FitShape& shape,
                    const FitRequest& request, const CacheTypes& types) {
  const int64_t most =
      std::max(request.use.context, shape.config.context_length);
  int64_t low = 0;  // in steps: fits
  int64_t high = CacheCells(most) / kStep;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (TotalOf(option, shape, request, types, middle * kStep) <=
        request.memory) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * kStep;
}

bool HasClients(const FitChoice& option, QuantType type) {
  return option.is_gguf() ? IsGgufCacheType(type) : IsPackedCacheType(type);
}

}  // namespace

bool IsGgufCacheType(QuantType type) {
  return std::find(std::begin(kGgufTypes), std::end(kGgufTypes), type) !=
         std::end(kGgufTypes);
}

bool IsPackedCacheType(QuantType type) {
  return std::find(std::begin(kPackedTypes), std::end(kPackedTypes), type) !=
         std::end(kPackedTypes);
}

int64_t ComputeAllowance(const FitShape& shape, const CacheUse& use) {
  const ModelConfig& c = shape.config;
  const int64_t cells = CacheCells(use.context);
  const int64_t batch = std::min(use.batch, cells);
  int64_t key_width = c.n_kv_heads * c.head_dim;
  int64_t window_cells = 0;
  if (shape.layout.has_value()) {
    for (const CacheLayer& layer : shape.layout->layers) {
      key_width = std::max({key_width, layer.key_width, layer.value_width});
    }
    window_cells = shape.layout->window > 0
                       ? std::min(cells, shape.layout->window + batch + kStep)
                       : 0;
  }
  const int64_t ffn =
      std::max(c.ffn_size, c.n_experts_used * c.expert_ffn_size);
  const double activations = 4.0 * static_cast<double>(c.hidden_size) +
                             static_cast<double>(c.n_heads * c.head_dim) +
                             2.0 * static_cast<double>(key_width) +
                             3.0 * static_cast<double>(ffn);
  const double bytes = static_cast<double>(batch) *
                           (4.0 * static_cast<double>(c.vocab_size) +
                            2.0 * static_cast<double>(cells + window_cells) +
                            4.0 * activations) +
                       4.0 * static_cast<double>(c.vocab_size) *
                           static_cast<double>(use.n_parallel);
  return bytes > static_cast<double>(kMostBytes) ? kMostBytes
                                                 : static_cast<int64_t>(bytes);
}

std::vector<FitRow> FitRows(absl::Span<const FitChoice> options,
                            const FitShape& shape, const FitRequest& request) {
  std::vector<FitRow> rows;
  for (const FitChoice& option : options) {
    for (const CacheTypes& types : request.types) {
      if (!HasClients(option, types.key) || !HasClients(option, types.value)) {
        continue;
      }
      FitRow row;
      row.option = &option;
      row.types = types;
      row.cache = CacheOf(shape, request, types, request.use.context);
      row.compute_bytes = ComputeOf(shape, request, request.use.context);
      row.total_bytes =
          TotalOf(option, shape, request, types, request.use.context);
      row.headroom_bytes = request.memory - row.total_bytes;
      row.fits = row.headroom_bytes >= 0;
      row.most_context = MostContext(option, shape, request, types);
      rows.push_back(row);
    }
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const FitRow& a, const FitRow& b) {
                     if (a.option->noise != b.option->noise) {
                       return a.option->noise < b.option->noise;
                     }
                     return a.option->tensor_bytes < b.option->tensor_bytes;
                   });
  return rows;
}

}  // namespace narrow
