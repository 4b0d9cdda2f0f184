#include "converter/gguf/output_metadata.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/gguf/metadata_overrides.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"

namespace narrow {
namespace {

// general.quantization_version: the revision of the block formats.
constexpr uint32_t kQuantizationVersion = 2;
constexpr char kArchitectureKey[] = "general.architecture";
constexpr char kVersionKey[] = "general.quantization_version";
constexpr char kFileTypeKey[] = "general.file_type";

// What llama.cpp adds to a file type that it had to guess.
constexpr uint32_t kGuessed = 1024;

// llama-quantize passes these strings on in fields of 128 bytes.
std::string CutAsLlama(const std::string& text) { return text.substr(0, 127); }

// general.file_type of a model that is copied: its own, or else that named
// for the type of most tensors; of two, the one that is first as often, in
// llama.cpp's order of tensors.
uint32_t CopiedFileType(const Checkpoint& model) {
  if (const auto own = model.metadata().GetInteger(kFileTypeKey)) {
    return static_cast<uint32_t>(*own);
  }
  std::vector<const CheckpointTensor*> tensors;
  for (const CheckpointTensor& tensor : model.tensors()) {
    tensors.push_back(&tensor);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const CheckpointTensor* a, const CheckpointTensor* b) {
              return a->layer != b->layer ? a->layer < b->layer
                                          : a->meta.name < b->meta.name;
            });
  std::map<QuantType, int> count;
  QuantType most = QuantType::kF32;
  int n_most = 0;
  for (const CheckpointTensor* tensor : tensors) {
    const int n = ++count[tensor->meta.type];
    if (n > n_most) {
      n_most = n;
      most = tensor->meta.type;
    }
  }
  // Types without a file type of their name count as f32; so does MXFP4,
  // whose number llama.cpp keeps for MXFP4_MOE.
  const auto named = ParseFileType(TypeName(most));
  const bool known = named.ok() && most != QuantType::kMXFP4;
  return kGuessed | static_cast<uint32_t>(known ? Info(*named).id : 0);
}

void AddImportanceKeys(const ImportanceMatrix& importance, Metadata* metadata) {
  const auto append = [metadata](const char* key, MetadataValue value) {
    metadata->Erase(key);
    metadata->Set(key, std::move(value));
  };
  append("quantize.imatrix.file", CutAsLlama(importance.path));
  if (!importance.datasets.empty()) {
    append("quantize.imatrix.dataset", CutAsLlama(importance.datasets[0]));
  }
  append("quantize.imatrix.entries_count",
         static_cast<uint32_t>(importance.entries.size()));
  if (importance.n_chunks > 0) {
    append("quantize.imatrix.chunks_count",
           static_cast<uint32_t>(importance.n_chunks));
  }
}

absl::Status CheckArchitecture(const Metadata& metadata,
                               const std::string& before) {
  const std::string arch =
      metadata.GetString(kArchitectureKey).value_or(before);
  const std::string key = absl::StrCat(arch, ".block_count");
  if (arch == before || metadata.Has(key)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--override-kv ", kArchitectureKey, ": the model's keys are named ",
      before, ".*, and there is no ", QuotedName(key),
      "; no program could load the file"));
}

}  // namespace

absl::StatusOr<Metadata> OutputMetadata(const Checkpoint& model,
                                        const Recipe& recipe,
                                        const ImportanceMatrix* importance) {
  Metadata metadata = model.metadata();
  const std::string arch = metadata.GetString(kArchitectureKey).value_or("");
  if (!recipe.keep_order) {
    for (const char* key : {kVersionKey, kFileTypeKey, kGgufSplitNoKey,
                            kGgufSplitCountKey, kGgufSplitTensorsKey}) {
      metadata.Erase(key);
    }
    metadata.Set(kVersionKey, kQuantizationVersion);
    metadata.Set(kFileTypeKey, recipe.copy ? CopiedFileType(model)
                                           : static_cast<uint32_t>(
                                                 Info(recipe.file_type).id));
  } else if (metadata.Has(kGgufSplitCountKey)) {
    // As llama-gguf-split --merge: one file, which was split once.
    metadata.Erase(kGgufSplitCountKey);
    metadata.Set(kGgufSplitCountKey, uint16_t{0});
  }
  for (const MetadataOverride& row : recipe.metadata_overrides) {
    RETURN_IF_ERROR(ApplyOverride(
        row, recipe.keep_order ? OverridePlace::kSame : OverridePlace::kEnd,
        &metadata));
  }
  RETURN_IF_ERROR(CheckArchitecture(metadata, arch));
  if (importance != nullptr && !recipe.keep_order) {
    AddImportanceKeys(*importance, &metadata);
  }
  return metadata;
}

void OverrideFacts(const Recipe& recipe, const Metadata& metadata,
                   MixModel* facts) {
  if (recipe.metadata_overrides.empty()) {
    return;
  }
  facts->arch = metadata.GetString(kArchitectureKey).value_or(facts->arch);
  const auto read = [&](const char* name, int64_t* fact) {
    const std::string key = absl::StrCat(facts->arch, ".", name);
    const bool overridden = std::any_of(
        recipe.metadata_overrides.begin(), recipe.metadata_overrides.end(),
        [&](const MetadataOverride& row) { return row.key == key; });
    if (!overridden) {
      return;
    }
    const auto list = metadata.GetIntegers(key);  // one a layer: of the first
    if (list.has_value() && !list->empty()) {
      *fact = list->front();
    } else {
      *fact = metadata.GetInteger(key).value_or(*fact);
    }
  };
  read("block_count", &facts->n_layers);
  read("attention.head_count", &facts->n_heads);
  if (!metadata.Has(absl::StrCat(facts->arch, ".attention.head_count_kv"))) {
    facts->n_kv_heads = facts->n_heads;
  }
  read("attention.head_count_kv", &facts->n_kv_heads);
  read("expert_count", &facts->n_experts);
}

}  // namespace narrow
