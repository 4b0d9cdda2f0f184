#include "converter/compensated/solve_targets.h"

#include <algorithm>

#include "converter/compensated/embedding/solve_embedding.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Why a token embedding is not solved.
std::string WhyNotEmbedding(const PlannedTensor& tensor, bool fisher) {
  if (!fisher) {
    return "what it is solved under comes from the reverse pass of "
           "--token-weights fisher";
  }
  if (tensor.has_scale()) {
    return "a scale of the whole matrix comes before its rows";
  }
  return IsWorthSolving(*FindCodec(tensor.meta.type))
             ? ""
             : "it loses little as this type";
}

// Why a quantized tensor is not solved; empty: it is.
std::string WhyNot(const PlannedTensor& tensor, bool fisher) {
  const CheckpointTensor& source = *tensor.source;
  if (tensor.meta.type == source.stored) {
    return "copied, it has this type already";
  }
  if (!source.scales.empty()) {
    return "its input file multiplies it by scales of their own";
  }
  if (IsEmbedding(source)) {
    return WhyNotEmbedding(tensor, fisher);
  }
  if (!HasInputStatistics(source)) {
    return "no statistics of its input are gathered";
  }
  return "";
}

}  // namespace

SolveTargets FindSolveTargets(const Plan& plan, const Checkpoint& model,
                              bool fisher) {
  const int n_blocks = static_cast<int>(model.config().n_layers);
  SolveTargets targets;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& tensor = plan.tensors[i];
    const BlockCodec* codec = FindCodec(tensor.meta.type);
    if (codec == nullptr || codec->block == 1) {
      continue;
    }
    std::string why = WhyNot(tensor, fisher);
    if (!why.empty()) {
      targets.plain.push_back({tensor.meta.name, std::move(why)});
      continue;
    }
    SolveTarget target;
    target.tensor = i;
    target.block = IsEmbedding(*tensor.source) ? n_blocks + 1
                   : tensor.source->layer < 0  ? n_blocks
                                               : tensor.source->layer;
    targets.solved.push_back(target);
  }
  std::stable_sort(targets.solved.begin(), targets.solved.end(),
                   [](const SolveTarget& a, const SolveTarget& b) {
                     return a.block < b.block;
                   });

  return targets;
}

}  // namespace narrow
