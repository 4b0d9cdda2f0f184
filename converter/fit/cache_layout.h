// What a model keeps of the positions it has seen, layer by layer: keys and
// values, of all positions or of a window, or a recurrent state.
//
//   ASSIGN_OR_RETURN(CacheLayout layout, CacheLayoutOf(model->metadata()));
//   CacheBytes(layout, {QuantType::kF16, QuantType::kF16}, {32768, 1, 512});
//
// Sizes are those that llama.cpp allocates for a file with this metadata
// (general.architecture and the keys after its name), flash attention on.
// Plain values and pure functions.

#ifndef NARROW_CONVERTER_FIT_CACHE_LAYOUT_H_
#define NARROW_CONVERTER_FIT_CACHE_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "formats/metadata.h"
#include "formats/quant_type.h"

namespace narrow {

// Numbers that one layer keeps.
struct CacheLayer {
  int64_t key_width = 0;    // of one position; 0: none
  int64_t value_width = 0;  // likewise; 0 beside keys: latent attention
  int64_t head_width = 0;   // of a key head, and of a value head
  int64_t value_head_width = 0;
  bool slides = false;      // positions of the window alone
  int64_t state_width = 0;  // recurrent, float32, one a sequence
};

struct CacheLayout {
  std::vector<CacheLayer> layers;
  int64_t window = 0;  // positions; 0: no layer slides
};

struct CacheTypes {
  QuantType key = QuantType::kF16;
  QuantType value = QuantType::kF16;
};

struct CacheUse {
  int64_t context = 0;     // positions of one sequence
  int64_t n_parallel = 1;  // sequences, each with its own positions
  int64_t batch = 512;     // positions computed at once (--ubatch-size)
};

struct CacheSize {
  int64_t full_bytes = 0;     // of layers that keep all positions
  int64_t sliding_bytes = 0;  // of layers with a window
  int64_t state_bytes = 0;    // recurrent

  int64_t bytes() const { return full_bytes + sliding_bytes + state_bytes; }
};

// Unimplemented: a family whose cache is not known, named. DataLoss: a key
// that is missing, of the wrong type or out of range.
absl::StatusOr<CacheLayout> CacheLayoutOf(const Metadata& metadata);

// InvalidArgument: a type whose blocks do not divide a head.
absl::Status CheckCacheTypes(const CacheLayout& layout,
                             const CacheTypes& types);

// `use.context` as it is allocated: the next multiple of 256.
int64_t CacheCells(int64_t context);

// Saturates at 2^60 each. REQUIRES: CheckCacheTypes is ok.
CacheSize CacheBytes(const CacheLayout& layout, const CacheTypes& types,
                     const CacheUse& use);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_CACHE_LAYOUT_H_
