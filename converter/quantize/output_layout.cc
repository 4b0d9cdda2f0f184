#include "converter/quantize/output_layout.h"

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/types/span.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors_format.h"
#include "formats/safetensors/safetensors_index.h"
#include "formats/safetensors/safetensors_writer.h"

namespace narrow {
namespace {

// Torch looks at tensors where they lie in a file, so each must begin at a
// multiple of its element: those that would move the next one off it come
// last, larger elements first.
int AlignmentRank(const TensorMeta& meta) {
  if (meta.n_bytes() % 8 == 0) {
    return 0;
  }
  const int64_t element = Geometry(meta.type).block_bytes;
  return element % 8 == 0 ? 1 : element % 4 == 0 ? 2 : element % 2 == 0 ? 3 : 4;
}

void AddPlanes(int layer, QuantizePlan* plan) {
  const std::vector<TensorMeta>& planes =
      plan->layers[static_cast<size_t>(layer)].planes;
  for (size_t p = 0; p < planes.size(); ++p) {
    OutputTensor tensor;
    tensor.kind = OutputTensor::Kind::kPlane;
    tensor.meta = planes[p];
    tensor.layer = layer;
    tensor.plane = static_cast<int>(p);
    plan->tensors.push_back(std::move(tensor));
  }
}

absl::Status MakeShards(int64_t max_shard_bytes, QuantizePlan* plan) {
  std::vector<int64_t> n_bytes;
  std::vector<TensorMeta> metas;
  for (const OutputTensor& tensor : plan->tensors) {
    n_bytes.push_back(tensor.meta.n_bytes());
    metas.push_back(tensor.meta);
    plan->tensor_bytes += tensor.meta.n_bytes();
  }
  Metadata metadata;
  metadata.Set("format", std::string("pt"));
  const std::vector<SafetensorsShard> shards =
      PlanSafetensorsShards(n_bytes, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    OutputShard shard;
    shard.name = shards.size() == 1 ? kSafetensorsFileName
                                    : SafetensorsShardName(i, shards.size());
    shard.first = shards[i].first;
    shard.n = shards[i].n;
    ASSIGN_OR_RETURN(
        shard.file_bytes,
        SafetensorsFileBytes(
            absl::MakeSpan(metas).subspan(shard.first, shard.n), metadata));
    plan->file_bytes += shard.file_bytes;
    plan->shards.push_back(std::move(shard));
  }
  return absl::OkStatus();
}

}  // namespace

void AlignTensors(std::vector<OutputTensor>* tensors) {
  std::stable_sort(tensors->begin(), tensors->end(),
                   [](const OutputTensor& a, const OutputTensor& b) {
                     return AlignmentRank(a.meta) < AlignmentRank(b.meta);
                   });
}

absl::Status LayOutTensors(const ModelInput& input, int64_t max_shard_bytes,
                           QuantizePlan* plan) {
  std::unordered_map<const TensorView*, int> layer_of;
  std::set<std::string> biases;
  for (size_t i = 0; i < plan->layers.size(); ++i) {
    PlannedLayer& layer = plan->layers[i];
    layer_of[layer.linear->view] = static_cast<int>(i);
    layer.planes =
        plan->packing->planes(layer.scheme, layer.linear->module,
                              layer.n_rows(), layer.n_cols(), input.dtype);
    for (const TensorMeta& meta : layer.planes) {
      layer.n_bytes += meta.n_bytes();
    }
    plan->n_quantized += layer.n_rows() * layer.n_cols();
    if (plan->packing->f16_bias) {
      biases.insert(layer.linear->module + ".bias");
    }
  }
  for (const TensorView& view : input.source->tensors()) {
    plan->n_weights += view.meta.n_elements();
    const auto it = layer_of.find(&view);
    const bool decoded = view.rows != nullptr;
    const QuantType stored = input.StoredType(view);
    plan->input_bytes +=
        decoded ? view.meta.n_elements() * Geometry(stored).block_bytes
                : view.meta.n_bytes();
    if (it != layer_of.end()) {
      AddPlanes(it->second, plan);
      continue;
    }
    OutputTensor tensor;
    tensor.meta = view.meta;
    tensor.view = &view;
    if (decoded) {
      tensor.kind = OutputTensor::Kind::kEncode;
      tensor.meta.type = stored;
    }
    if (biases.count(view.meta.name) > 0 &&
        (stored == QuantType::kBF16 || stored == QuantType::kF32)) {
      tensor.kind = OutputTensor::Kind::kEncode;
      tensor.meta.type = QuantType::kF16;
    }
    plan->tensors.push_back(std::move(tensor));
  }
  AlignTensors(&plan->tensors);
  return MakeShards(max_shard_bytes, plan);
}

}  // namespace narrow
