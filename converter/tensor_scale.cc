#include "converter/tensor_scale.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace narrow {
namespace {

// Families whose forward pass in llama.cpp 0.7 applies scale tensors. It
// loads those of any family, so a scale in another place would be there and
// without effect.
struct ScaledFamily {
  const char* arch;
  bool feed_forward;  // besides attention
};

constexpr ScaledFamily kScaledFamilies[] = {
    {"llama", true},   {"qwen3", true},   {"qwen3moe", true}, {"qwen2", false},
    {"gemma2", false}, {"gemma3", false}, {"phi3", false},
};

constexpr TensorRole kAttention[] = {
    TensorRole::kAttentionQ, TensorRole::kAttentionK, TensorRole::kAttentionV,
    TensorRole::kAttentionQkv, TensorRole::kAttentionOutput};
constexpr TensorRole kFeedForward[] = {TensorRole::kFfnUp, TensorRole::kFfnGate,
                                       TensorRole::kFfnDown};

template <size_t n>
bool OneOf(TensorRole role, const TensorRole (&roles)[n]) {
  return std::find(std::begin(roles), std::end(roles), role) != std::end(roles);
}

}  // namespace

TensorMeta ScaleFor(const Checkpoint& model, absl::string_view source_name,
                    const TensorMeta& meta, TensorRole role) {
  absl::string_view base = meta.name;
  if (meta.type != QuantType::kNVFP4 || meta.shape.size() > 3 ||
      !absl::ConsumeSuffix(&base, ".weight") ||
      !absl::ConsumeSuffix(&source_name, ".weight")) {
    return {};
  }
  const auto* family = std::find_if(
      std::begin(kScaledFamilies), std::end(kScaledFamilies),
      [&](const ScaledFamily& row) { return model.config().arch == row.arch; });
  if (family == std::end(kScaledFamilies)) {
    return {};
  }
  // A feed-forward bias would be scaled too, which llama.cpp refuses.
  const bool applies =
      OneOf(role, kAttention) ||
      (family->feed_forward && OneOf(role, kFeedForward) &&
       model.Find(absl::StrCat(source_name, ".bias")) == nullptr);
  TensorMeta scale;
  scale.name = absl::StrCat(base, ".scale");
  if (!applies || model.Find(absl::StrCat(source_name, ".scale")) != nullptr) {
    return {};
  }
  scale.type = QuantType::kF32;
  scale.shape = {meta.shape.size() == 3 ? meta.shape[0] : 1};
  return scale;
}

float ScaleOf(float absmax) {
  // The format has scales up to 448, but ggml's encoder makes 448 of every
  // one above 248: the blocks of the largest weights would be coarse. 240 is
  // the last that it rounds to.
  constexpr float kLargestScale = 240.0f;
  constexpr float kLargestCode = 6.0f;
  const float scale = absmax / (kLargestScale * kLargestCode);
  return scale >= std::numeric_limits<float>::min() ? scale : 1.0f;
}

}  // namespace narrow
