#include "converter/plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/gguf/output_metadata.h"
#include "converter/gguf/prune_layers.h"
#include "converter/mix/mix_rules.h"
#include "converter/mix/type_chooser.h"
#include "converter/tensor_scale.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

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

// What keeps a conversion from being done is an error, and the first such
// finding a note on a dry run.
absl::Status RefuseOrNote(std::string message, Plan* plan) {
  if (!plan->recipe.dry_run) {
    return absl::FailedPreconditionError(message);
  }
  if (!plan->refused) {
    plan->notes.push_back(absl::StrCat("would be refused: ", message));
    plan->refused = true;
  }
  return absl::OkStatus();
}

// Whether a conversion with the recipe gives the tensor importance of its own.
bool GetsStatistics(const Recipe& recipe, const CheckpointTensor& tensor) {
  return (recipe.calibrated && HasInputStatistics(tensor)) ||
         (recipe.calibrated_embedding &&
          tensor.meta.name == "token_embd.weight");
}

absl::Status FindImportance(const ImportanceMatrix* importance, Plan* plan,
                            PlannedTensor* tensor) {
  const TensorMeta& meta = tensor->meta;
  const ImportanceEntry* entry =
      importance == nullptr ? nullptr
                            : importance->Find(tensor->source->meta.name);
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
  if (tensor->importance != nullptr ||
      GetsStatistics(plan->recipe, *tensor->source)) {
    return absl::OkStatus();
  }
  if (DemandsImportance(plan->recipe.file_type, meta.type, tensor->role)) {
    RETURN_IF_ERROR(RefuseOrNote(
        absl::StrCat("tensor '", meta.name, "' as ", TypeName(meta.type),
                     " needs an importance matrix",
                     importance == nullptr
                         ? ""
                         : ", and the given one has no entry for it",
                     "; make one (narrow imatrix MODEL --text FILE --out "
                     "imatrix.gguf) and give it with --imatrix"),
        plan));
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

absl::Status CheckKeeps(const Checkpoint& model, const Recipe& recipe) {
  if (recipe.keep_order && !recipe.copy) {
    return absl::InvalidArgumentError(
        "--keep-order is for --to COPY: the mix of other file types goes by "
        "llama.cpp's order of tensors");
  }
  if (recipe.keep_split && !model.is_gguf()) {
    return absl::InvalidArgumentError(
        "--keep-split needs a GGUF input, whose shards it repeats; use "
        "--split-max-size or --split-max-tensors");
  }
  return absl::OkStatus();
}

absl::StatusOr<LayerPruning> PruningOf(const Checkpoint& model,
                                       const Recipe& recipe) {
  std::vector<std::string> names;
  for (const CheckpointTensor& tensor : model.tensors()) {
    names.push_back(tensor.meta.name);
  }
  return LayerPruning::Create(recipe.pruned_layers, names);
}

// The tensors of the file with the types they have now.
std::vector<PlannedTensor> TensorsOf(const Checkpoint& model,
                                     const Recipe& recipe,
                                     const LayerPruning& pruning) {
  std::vector<PlannedTensor> tensors;
  for (const CheckpointTensor& source : model.tensors()) {
    PlannedTensor tensor = {};
    tensor.source = &source;
    tensor.meta = source.meta;
    tensor.meta.name = pruning.NewName(source.meta.name);
    if (tensor.meta.name.empty()) {
      continue;
    }
    tensor.role = RoleOf(tensor.meta.name);
    tensors.push_back(std::move(tensor));
  }
  if (!recipe.keep_order && !recipe.keep_split) {
    SortAsLlama(&tensors);
  }
  return tensors;
}

// Sizes, and the files that the output is written to.
absl::Status MeasureFiles(const Checkpoint& model, Plan* plan) {
  const std::vector<TensorMeta> metas = FileTensors(*plan);
  for (const TensorMeta& meta : metas) {
    plan->tensor_bytes += meta.n_bytes();
  }
  plan->split = plan->recipe.split;
  if (plan->recipe.keep_split) {
    // A file that stands alone may be named as a shard.
    const bool is_split =
        model.metadata().GetInteger(kGgufSplitCountKey).value_or(0) > 1;
    std::vector<std::string> origins;
    for (const PlannedTensor& tensor : plan->tensors) {
      origins.resize(origins.size() + (tensor.has_scale() ? 2 : 1),
                     is_split ? tensor.source->origin.file : "");
    }
    plan->split = SplitAsInput(origins);
  }
  ASSIGN_OR_RETURN(plan->files, PlanFiles(metas, plan->metadata, plan->split));
  for (const PlannedFile& file : plan->files) {
    plan->file_bytes += file.n_bytes;
  }
  return absl::OkStatus();
}

}  // namespace

bool HasInputStatistics(const CheckpointTensor& tensor) {
  const size_t n_dimensions = tensor.meta.shape.size();
  return tensor.layer >= 0 ? n_dimensions == 2 || n_dimensions == 3
                           : tensor.meta.name == "output.weight";
}

absl::StatusOr<Plan> MakePlan(const Checkpoint& model, const Recipe& recipe,
                              const ImportanceMatrix* importance) {
  RETURN_IF_ERROR(CheckKeeps(model, recipe));
  Plan plan;
  plan.recipe = recipe;
  ASSIGN_OR_RETURN(const LayerPruning pruning, PruningOf(model, recipe));
  plan.tensors = TensorsOf(model, recipe, pruning);
  ASSIGN_OR_RETURN(plan.metadata, OutputMetadata(model, recipe, importance));
  MixModel facts =
      FactsOf(model, plan.tensors, importance != nullptr || recipe.calibrated);
  OverrideFacts(recipe, plan.metadata, &facts);
  plan.notes = pruning.Warnings(plan.metadata);
  if (recipe.copy &&
      (recipe.pure || !recipe.overrides.empty() || recipe.leave_output ||
       recipe.mode == Mode::kStrict || recipe.output_type.has_value() ||
       recipe.embedding_type.has_value())) {
    plan.notes.push_back(
        "COPY keeps the type of every tensor; the flags that choose types "
        "change nothing");
  }
  pruning.PruneMetadata(&plan.metadata);

  ASSIGN_OR_RETURN(TypeChooser chooser, TypeChooser::Create(recipe, facts));
  for (PlannedTensor& tensor : plan.tensors) {
    if (recipe.copy) {
      tensor.wanted = tensor.meta.type;
      tensor.reason = "copied";
      plan.n_weights += tensor.meta.n_elements();
      continue;
    }
    ASSIGN_OR_RETURN(TypeChoice choice, chooser.Choose(tensor.meta));
    tensor.meta.type = choice.type;
    tensor.reason = std::move(choice.reason);
    tensor.wanted = choice.wanted;
    RETURN_IF_ERROR(CheckCodecs(tensor, recipe));
    if (tensor.meta.type != tensor.source->meta.type) {
      RETURN_IF_ERROR(FindImportance(importance, &plan, &tensor));
    }
    // Under the file types of llama-quantize, nvfp4 is as it writes it.
    if (recipe.file_type == FileType::kNVFP4 &&
        tensor.meta.type != tensor.source->stored) {
      tensor.scale =
          ScaleFor(model, tensor.source->meta.name, tensor.meta, tensor.role);
    }
    plan.n_fallbacks += tensor.fell_back() ? 1 : 0;
    plan.n_weights += tensor.meta.n_elements();
  }
  RETURN_IF_ERROR(MeasureFiles(model, &plan));
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
