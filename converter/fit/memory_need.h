// Whether weights, cache and the buffers of a computation fit into memory.
//
//   FitRequest request;  request.memory = 24e9;  request.use.context = 32768;
//   for (const FitRow& row : FitRows(options, shape, request))
//     if (row.fits) ...   // the least noise first
//
// Memory is one pool: all layers on one device, nothing kept twice. Pure.

#ifndef NARROW_CONVERTER_FIT_MEMORY_NEED_H_
#define NARROW_CONVERTER_FIT_MEMORY_NEED_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "converter/fit/cache_layout.h"
#include "converter/fit/fit_choices.h"
#include "formats/arch/model_config.h"

namespace narrow {

// What the memory of a run depends on besides the weights.
struct FitShape {
  std::optional<CacheLayout> layout;  // or `cache_bytes` of the request
  ModelConfig config;
};

struct FitRequest {
  int64_t memory = 0;
  int64_t reserve = 0;  // to be left free
  CacheUse use;
  std::vector<CacheTypes> types;
  // In the place of what is computed.
  std::optional<int64_t> cache_bytes;
  std::optional<int64_t> compute_bytes;
};

struct FitRow {
  const FitChoice* option = nullptr;
  CacheTypes types;
  CacheSize cache;
  int64_t compute_bytes = 0;
  int64_t total_bytes = 0;     // weights, cache, compute and reserve
  int64_t headroom_bytes = 0;  // negative: that much is missing
  // The longest context for which it fits, a multiple of 256, at most the
  // longer of what was asked and what the model was trained for; 0: none.
  int64_t most_context = 0;
  bool fits = false;
};

// An allowance, from above, for the buffers of one batch: logits of every
// position, masks over the cache, and the widest activations of a block, all
// in float32 but the masks:
//   batch * (4 * vocabulary + 2 * (cells + window's cells)
//            + 4 * (4 * hidden + queries + keys + values + 3 * feed-forward))
//   + 4 * vocabulary * sequences
// llama.cpp with flash attention stays below it.
int64_t ComputeAllowance(const FitShape& shape, const CacheUse& use);

// Every option with every pair of cache types its clients have: GGUF with the
// types of llama.cpp, packings with 16 and 32 bits and FP8. In order of noise;
// of equal noise fewer bytes first, then cache types as asked.
// REQUIRES: CheckCacheTypes of all types is ok.
std::vector<FitRow> FitRows(absl::Span<const FitChoice> options,
                            const FitShape& shape, const FitRequest& request);

// Whether clients of GGUF files (of packings) have a cache of this type.
bool IsGgufCacheType(QuantType type);
bool IsPackedCacheType(QuantType type);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_MEMORY_NEED_H_
