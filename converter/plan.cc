#include "converter/plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/mix_rules.h"
#include "converter/tensor_scale.h"
#include "converter/type_chooser.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_writer.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// general.quantization_version: the revision of the block formats.
constexpr uint32_t kQuantizationVersion = 2;

// llama.cpp's order of tensors: by layer, those outside layers first, then
// by name.
void SortAsLlama(std::vector<PlannedTensor>* tensors) {
  std::sort(tensors->begin(), tensors->end(),
            [](const PlannedTensor& a, const PlannedTensor& b) {
              if (a.source->layer != b.source->layer) {
                return a.source->layer < b.source->layer;
              }
              return a.meta.name < b.meta.name;
            });
}

MixModel FactsOf(const Checkpoint& model,
                 const std::vector<PlannedTensor>& tensors,
                 bool has_importance) {
  const ModelConfig& config = model.config();
  MixModel facts;
  facts.arch = config.arch;
  facts.n_layers = config.n_layers;
  facts.n_heads = config.n_heads;
  facts.n_kv_heads = config.n_kv_heads;
  facts.n_experts = config.n_experts;
  facts.has_importance = has_importance;
  for (const PlannedTensor& tensor : tensors) {
    if (IsAttentionV(tensor.role)) {
      ++facts.n_attention_v;
    }
    if (tensor.role == TensorRole::kOutput) {
      facts.tied_embeddings = false;
    }
  }
  return facts;
}

absl::Status FindImportance(const ImportanceMatrix* importance, Plan* plan,
                            PlannedTensor* tensor) {
  const TensorMeta& meta = tensor->meta;
  const ImportanceEntry* entry =
      importance == nullptr ? nullptr : importance->Find(meta.name);
  if (entry != nullptr) {
    const int64_t n_matrices =
        meta.shape.size() > 2 ? meta.shape[meta.shape.size() - 3] : 1;
    const int64_t wanted = n_matrices * meta.n_cols();
    const int64_t given = static_cast<int64_t>(entry->mean_sq.size());
    if (wanted == given) {
      tensor->importance = entry->mean_sq.data();
      if (!entry->missing.empty()) {
        plan->partial_importance.push_back(meta.name);
      }
    } else if (tensor->role != TensorRole::kTokenEmbedding) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", meta.name, "' ", ShapeString(meta.shape), " needs ",
          wanted, " importance values, the matrix has ", given,
          "; it was made for another model; reading ", importance->path));
    }
  }
  if (tensor->importance != nullptr) {
    return absl::OkStatus();
  }
  if (DemandsImportance(plan->recipe.file_type, meta.type, tensor->role)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor '", meta.name, "' as ", TypeName(meta.type),
        " needs an importance matrix",
        importance == nullptr ? "" : ", and the given one has no entry for it",
        "; make one (narrow imatrix MODEL --text FILE --out imatrix.gguf) and "
        "give it with --imatrix"));
  }
  if (importance != nullptr) {
    plan->without_importance.push_back(meta.name);
  }
  return absl::OkStatus();
}

absl::Status CheckCodecs(const PlannedTensor& tensor, const Recipe& recipe) {
  const CheckpointTensor& source = *tensor.source;
  if (tensor.meta.type == source.meta.type) {
    return absl::OkStatus();
  }
  if (Geometry(source.stored).block_weights > 1 && !recipe.allow_requantize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor '", tensor.meta.name, "' is already quantized as ",
        TypeName(source.stored),
        "; quantizing it again loses more than doing it once: convert the "
        "original model, or insist with --allow-requantize; reading ",
        source.origin.file));
  }
  for (const QuantType type : {source.stored, tensor.meta.type}) {
    if (FindCodec(type) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor '", tensor.meta.name, "': there is no codec for ",
          TypeName(type), "; `narrow types` lists those there are; reading ",
          source.origin.file));
    }
  }
  return absl::OkStatus();
}

// llama-quantize passes these strings on in fields of 128 bytes.
std::string CutAsLlama(const std::string& text) { return text.substr(0, 127); }

Metadata OutputMetadata(const Checkpoint& model, FileType file_type,
                        const ImportanceMatrix* importance) {
  Metadata metadata = model.metadata();
  for (const char* key : {"general.quantization_version", "general.file_type",
                          "split.no", "split.count", "split.tensors.count"}) {
    metadata.Erase(key);
  }
  metadata.Set("general.quantization_version", kQuantizationVersion);
  metadata.Set("general.file_type", static_cast<uint32_t>(Info(file_type).id));
  if (importance != nullptr) {
    metadata.Set("quantize.imatrix.file", CutAsLlama(importance->path));
    if (!importance->datasets.empty()) {
      metadata.Set("quantize.imatrix.dataset",
                   CutAsLlama(importance->datasets[0]));
    }
    metadata.Set("quantize.imatrix.entries_count",
                 static_cast<uint32_t>(importance->entries.size()));
    if (importance->n_chunks > 0) {
      metadata.Set("quantize.imatrix.chunks_count",
                   static_cast<uint32_t>(importance->n_chunks));
    }
  }
  return metadata;
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const Checkpoint& model, const Recipe& recipe,
                              const ImportanceMatrix* importance) {
  Plan plan;
  plan.recipe = recipe;
  for (const CheckpointTensor& source : model.tensors()) {
    PlannedTensor tensor = {};
    tensor.source = &source;
    tensor.meta = source.meta;
    tensor.role = RoleOf(source.meta.name);
    plan.tensors.push_back(std::move(tensor));
  }
  SortAsLlama(&plan.tensors);

  ASSIGN_OR_RETURN(TypeChooser chooser,
                   TypeChooser::Create(recipe, FactsOf(model, plan.tensors,
                                                       importance != nullptr)));
  for (PlannedTensor& tensor : plan.tensors) {
    ASSIGN_OR_RETURN(TypeChoice choice, chooser.Choose(tensor.meta));
    tensor.meta.type = choice.type;
    tensor.reason = std::move(choice.reason);
    tensor.wanted = choice.wanted;
    RETURN_IF_ERROR(CheckCodecs(tensor, recipe));
    if (tensor.meta.type != tensor.source->meta.type) {
      RETURN_IF_ERROR(FindImportance(importance, &plan, &tensor));
    }
    if (tensor.meta.type != tensor.source->stored) {
      tensor.scale = ScaleFor(model, tensor.meta, tensor.role);
    }
    plan.n_fallbacks += tensor.fell_back() ? 1 : 0;
    plan.n_weights += tensor.meta.n_elements();
  }
  const std::vector<TensorMeta> metas = FileTensors(plan);
  for (const TensorMeta& meta : metas) {
    plan.tensor_bytes += meta.n_bytes();
  }
  plan.metadata = OutputMetadata(model, recipe.file_type, importance);
  ASSIGN_OR_RETURN(plan.file_bytes, GgufFileBytes(metas, plan.metadata));
  return plan;
}

std::vector<TensorMeta> FileTensors(const Plan& plan) {
  std::vector<TensorMeta> metas;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.has_scale()) {
      metas.push_back(tensor.scale);
    }
    metas.push_back(tensor.meta);
  }
  return metas;
}

}  // namespace narrow
