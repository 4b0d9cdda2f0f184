#include "formats/lora/lora_adapter.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors_reader.h"

namespace narrow {
namespace {

constexpr absl::string_view kPrefix = "base_model.model.";

enum class Part { kA, kB, kBBias, kMagnitude, kEmbeddingA, kEmbeddingB };
struct PartRow {
  absl::string_view suffix;
  Part part;
};
constexpr PartRow kParts[] = {
    {".lora_A.weight", Part::kA},
    {".lora_B.weight", Part::kB},
    {".lora_B.bias", Part::kBBias},
    {".lora_magnitude_vector", Part::kMagnitude},
    {".lora_magnitude_vector.weight", Part::kMagnitude},
    {".lora_embedding_A", Part::kEmbeddingA},
    {".lora_embedding_B", Part::kEmbeddingB},
};

// Without the adapter's own name.
std::string PlainName(absl::string_view name) {
  std::string plain(absl::StripPrefix(name, kPrefix));
  plain = absl::StrReplaceAll(plain, {{".modules_to_save.default.", "."},
                                      {".modules_to_save.", "."},
                                      {".original_module.", ".?."},
                                      {".base_layer.", "."},
                                      {".default.", "."}});
  return std::string(absl::StripSuffix(plain, ".default"));
}

std::string Shape(const TensorView& view) {
  return absl::StrCat("[", absl::StrJoin(view.meta.shape, ", "), "]");
}

absl::Status At(const TensorView& view, absl::string_view cause) {
  return absl::DataLossError(absl::StrCat(
      "tensor ", QuotedName(view.meta.name), ": ", cause, "; at offset ",
      view.origin.offset, "; reading ", view.origin.file));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const LoraAdapter>> LoraAdapter::Open(
    absl::string_view folder) {
  auto adapter = std::unique_ptr<LoraAdapter>(new LoraAdapter);
  ASSIGN_OR_RETURN(adapter->config_, LoraConfig::Read(folder));
  const std::string path = JoinPath(folder, "adapter_model.safetensors");
  const std::string pickle = JoinPath(folder, "adapter_model.bin");
  if (!FileExists(path) && FileExists(pickle)) {
    return absl::UnimplementedError(
        absl::StrCat("an adapter in PyTorch's own format; save it as "
                     "safetensors; opening ",
                     pickle));
  }
  ASSIGN_OR_RETURN(adapter->source_, OpenSafetensors(path));
  RETURN_IF_ERROR(adapter->Sort());
  return std::unique_ptr<const LoraAdapter>(std::move(adapter));
}

absl::Status LoraAdapter::Sort() {
  for (const TensorView& view : source_->tensors()) {
    RETURN_IF_ERROR(SortOne(view));
  }
  for (LoraModule& module : modules_) {
    RETURN_IF_ERROR(CheckModule(&module));
  }
  if (modules_.empty() && replacements_.empty()) {
    return absl::DataLossError(
        absl::StrCat("an adapter without tensors; next to ", config_.file()));
  }
  return absl::OkStatus();
}

LoraModule* LoraAdapter::ModuleOf(absl::string_view name) {
  for (LoraModule& module : modules_) {
    if (module.name == name) {
      return &module;
    }
  }
  modules_.emplace_back();
  modules_.back().name = std::string(name);
  return &modules_.back();
}

absl::Status LoraAdapter::SortOne(const TensorView& view) {
  const std::string name = PlainName(view.meta.name);
  for (const PartRow& row : kParts) {
    if (!absl::EndsWith(name, row.suffix)) {
      continue;
    }
    LoraModule* module = ModuleOf(absl::StripSuffix(name, row.suffix));
    const bool is_embedding =
        row.part == Part::kEmbeddingA || row.part == Part::kEmbeddingB;
    const TensorView** place =
        row.part == Part::kA || row.part == Part::kEmbeddingA   ? &module->a
        : row.part == Part::kB || row.part == Part::kEmbeddingB ? &module->b
        : row.part == Part::kBBias ? &module->b_bias
                                   : &module->magnitude;
    if (*place != nullptr) {
      return At(view, "its module has such a tensor already");
    }
    *place = &view;
    module->is_embedding = module->is_embedding || is_embedding;
    return absl::OkStatus();
  }
  if (absl::StrContains(name, ".lora_") || absl::StrContains(name, ".?.") ||
      absl::StrContains(name, "token_adapter")) {
    return absl::UnimplementedError(
        absl::StrCat("merging ", At(view, "an unknown part").message()));
  }
  for (const LoraReplacement& replacement : replacements_) {
    if (replacement.name == name) {
      return At(view, "the adapter has this tensor twice");
    }
  }
  replacements_.push_back({name, &view});
  return absl::OkStatus();
}

absl::Status LoraAdapter::CheckModule(LoraModule* module) const {
  const TensorView* any = module->a != nullptr        ? module->a
                          : module->b != nullptr      ? module->b
                          : module->b_bias != nullptr ? module->b_bias
                                                      : module->magnitude;
  if (module->a == nullptr || module->b == nullptr) {
    return At(*any, absl::StrCat("its module lacks lora_",
                                 module->a == nullptr ? "A" : "B"));
  }
  for (const TensorView* matrix : {module->a, module->b}) {
    if (matrix->meta.shape.size() > 2) {
      return absl::UnimplementedError(absl::StrCat(
          "merging a convolution; ",
          At(*matrix, absl::StrCat("shape ", Shape(*matrix))).message()));
    }
    if (matrix->meta.shape.size() != 2 || matrix->meta.n_elements() == 0) {
      return At(*matrix,
                absl::StrCat("shape ", Shape(*matrix), ", expected a matrix"));
    }
  }
  ASSIGN_OR_RETURN(module->strength, config_.StrengthOf(module->name));
  const int64_t rank = module->strength.rank;
  if (module->a->meta.shape[0] != rank) {
    return At(*module->a,
              absl::StrCat("shape ", Shape(*module->a), ", but ",
                           config_.file(), " gives it rank ", rank));
  }
  if (module->b->meta.shape[1] != rank) {
    return At(*module->b,
              absl::StrCat("shape ", Shape(*module->b), ", but ",
                           config_.file(), " gives it rank ", rank));
  }
  if (config_.use_dora() != (module->magnitude != nullptr)) {
    return At(*module->a, config_.use_dora()
                              ? "its module lacks lora_magnitude_vector"
                              : "lora_magnitude_vector without use_dora");
  }
  if (module->magnitude != nullptr && module->is_embedding) {
    return absl::UnimplementedError(
        absl::StrCat("merging DoRA of an embedding; ",
                     At(*module->a, "an embedding").message()));
  }
  return absl::OkStatus();
}

}  // namespace narrow
