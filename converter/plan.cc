#include "converter/plan.h"

#include <algorithm>
#include <regex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "converter/mix_rules.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_writer.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// general.quantization_version: the revision of the block formats.
constexpr uint32_t kQuantizationVersion = 2;

struct CompiledOverride {
  std::regex pattern;
  QuantType type;
  std::string text;
};

absl::StatusOr<std::vector<CompiledOverride>> CompileOverrides(
    const std::vector<TypeOverride>& overrides) {
  std::vector<CompiledOverride> compiled;
  for (const TypeOverride& row : overrides) {
    // std::regex reports a bad pattern by throwing; it goes no further.
    try {
      compiled.push_back({std::regex(absl::AsciiStrToLower(row.pattern)),
                          row.type, row.pattern});
    } catch (const std::regex_error& error) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tensor-type pattern '", row.pattern,
                       "' is not a regular expression: ", error.what()));
    }
  }
  return compiled;
}

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

// Chooses types one tensor after another, in the order of the file.
class TypeChooser {
 public:
  TypeChooser(const Recipe& recipe, std::vector<CompiledOverride> overrides,
              const MixModel& facts)
      : recipe_(recipe),
        overrides_(std::move(overrides)),
        mix_(recipe.file_type, facts) {}

  absl::Status Choose(PlannedTensor* tensor) {
    const absl::string_view keep = KeepReason(tensor->meta);
    if (!keep.empty()) {
      tensor->reason = absl::StrCat("kept: ", keep);
      return absl::OkStatus();
    }
    if (recipe_.leave_output && tensor->role == TensorRole::kOutput) {
      tensor->reason = "kept: --leave-output-tensor";
      return absl::OkStatus();
    }
    const CompiledOverride* named = FindOverride(tensor->meta.name);
    // The per-layer embedding table follows the embedding type unless an
    // override names it.
    const bool table_named =
        named != nullptr && tensor->meta.name == "per_layer_token_embd.weight";
    if (recipe_.embedding_type.has_value() && !table_named &&
        tensor->role == TensorRole::kTokenEmbedding) {
      tensor->meta.type = *recipe_.embedding_type;
      tensor->reason = "--token-embedding-type";
    } else if (recipe_.output_type.has_value() &&
               tensor->role == TensorRole::kOutput) {
      tensor->meta.type = *recipe_.output_type;
      tensor->reason = "--output-tensor-type";
    } else {
      return ChooseByRules(named, tensor);
    }
    return CheckFits(*tensor);
  }

 private:
  const CompiledOverride* FindOverride(const std::string& name) const {
    for (const CompiledOverride& row : overrides_) {
      if (std::regex_search(name, row.pattern)) {
        return &row;
      }
    }
    return nullptr;
  }

  // Overrides and mix rules do not touch file types of plain numbers.
  absl::Status ChooseByRules(const CompiledOverride* named,
                             PlannedTensor* tensor) {
    const QuantType base = Info(recipe_.file_type).default_type;
    tensor->meta.type = base;
    tensor->reason = "default of the file type";
    if (Geometry(base).block_weights == 1) {
      return absl::OkStatus();
    }
    if (named != nullptr) {
      tensor->meta.type = named->type;
      tensor->reason = absl::StrCat("--tensor-type ", named->text);
    } else if (recipe_.pure) {
      tensor->reason = "--pure";
    } else if (recipe_.output_type.has_value() &&
               tensor->role == TensorRole::kTokenEmbedding && TiedOutput()) {
      tensor->meta.type = *recipe_.output_type;
      tensor->reason = "--output-tensor-type: the embedding is the output";
    } else {
      ASSIGN_OR_RETURN(const MixChoice choice,
                       mix_.Choose(tensor->meta, tensor->role));
      tensor->meta.type = choice.type;
      tensor->reason = choice.reason;
    }
    const int64_t n_cols = tensor->meta.n_cols();
    const std::optional<QuantType> fits =
        FallbackType(tensor->meta.type, n_cols);
    if (!fits.has_value()) {
      return CheckFits(*tensor);
    }
    if (*fits != tensor->meta.type) {
      absl::StrAppend(&tensor->reason, "; ", TypeName(tensor->meta.type),
                      " needs rows of whole blocks of ",
                      Geometry(tensor->meta.type).block_weights, ", this has ",
                      n_cols);
      tensor->meta.type = *fits;
      tensor->fell_back = true;
    }
    return absl::OkStatus();
  }

  bool TiedOutput() const { return mix_.model().tied_embeddings; }

  static absl::Status CheckFits(const PlannedTensor& tensor) {
    const absl::StatusOr<int64_t> n_bytes =
        TensorBytes(tensor.meta.type, tensor.meta.shape);
    if (!n_bytes.ok()) {
      return Annotate(n_bytes.status(),
                      absl::StrCat("tensor '", tensor.meta.name,
                                   "'; choose another type for it"));
    }
    return absl::OkStatus();
  }

  const Recipe& recipe_;
  const std::vector<CompiledOverride> overrides_;
  MixState mix_;
};

// Types that ggml or llama-quantize refuse without an importance matrix.
bool NeedsImportance(const PlannedTensor& tensor, FileType file_type) {
  if (tensor.role == TensorRole::kTokenEmbedding ||
      tensor.role == TensorRole::kOutput) {
    return false;
  }
  switch (tensor.meta.type) {
    case QuantType::kIQ3_XXS:
    case QuantType::kIQ2_XXS:
    case QuantType::kIQ2_XS:
    case QuantType::kIQ2_S:
    case QuantType::kIQ1_M:
    case QuantType::kIQ1_S:
      return true;
    case QuantType::kQ2_K:
      return file_type == FileType::kQ2_K_S;
    default:
      return false;
  }
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
  if (NeedsImportance(*tensor, plan->recipe.file_type)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor '", meta.name, "' as ", TypeName(meta.type),
        " needs an importance matrix",
        importance == nullptr ? "" : ", and the given one has no entry for it",
        "; make one (llama-imatrix -m MODEL -f TEXT -o imatrix.gguf) and give "
        "it with --imatrix"));
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
    metadata.Set("quantize.imatrix.file", importance->path);
    if (!importance->datasets.empty()) {
      metadata.Set("quantize.imatrix.dataset", importance->datasets[0]);
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
  ASSIGN_OR_RETURN(std::vector<CompiledOverride> overrides,
                   CompileOverrides(recipe.overrides));
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

  TypeChooser chooser(recipe, std::move(overrides),
                      FactsOf(model, plan.tensors, importance != nullptr));
  std::vector<TensorMeta> metas;
  for (PlannedTensor& tensor : plan.tensors) {
    RETURN_IF_ERROR(chooser.Choose(&tensor));
    RETURN_IF_ERROR(CheckCodecs(tensor, recipe));
    if (tensor.meta.type != tensor.source->meta.type) {
      RETURN_IF_ERROR(FindImportance(importance, &plan, &tensor));
    }
    plan.n_fallbacks += tensor.fell_back ? 1 : 0;
    plan.n_weights += tensor.meta.n_elements();
    plan.tensor_bytes += tensor.meta.n_bytes();
    metas.push_back(tensor.meta);
  }
  plan.metadata = OutputMetadata(model, recipe.file_type, importance);
  ASSIGN_OR_RETURN(plan.file_bytes, GgufFileBytes(metas, plan.metadata));
  return plan;
}

}  // namespace narrow
