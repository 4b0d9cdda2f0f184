#include "converter/quantize/model_input.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/packing/packed_source.h"
#include "formats/safetensors/safetensors_reader.h"

namespace narrow {
namespace {

constexpr int64_t kMaxConfigBytes = 64 << 20;

// The type with the most weights among matrices, or the one that config.json
// names where the matrices are packed.
QuantType DtypeOf(const ModelInput& input) {
  std::map<QuantType, int64_t> n_weights;
  for (const TensorView& view : input.source->tensors()) {
    if (view.rows == nullptr && (view.meta.type == QuantType::kBF16 ||
                                 view.meta.type == QuantType::kF16 ||
                                 view.meta.type == QuantType::kF32)) {
      n_weights[view.meta.type] += view.meta.n_elements();
    }
  }
  if (input.was_quantized || n_weights.empty()) {
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto value = input.config_json->root().FindNonNull(key);
      if (value.has_value() && value->is_string()) {
        const absl::string_view name = *value->GetString();
        return absl::EndsWith(name, "bfloat16")  ? QuantType::kBF16
               : absl::EndsWith(name, "float16") ? QuantType::kF16
                                                 : QuantType::kF32;
      }
    }
  }
  QuantType best = QuantType::kBF16;
  int64_t most = -1;
  for (const auto& [type, n] : n_weights) {
    if (n > most) {
      best = type;
      most = n;
    }
  }
  return best;
}

absl::Status CheckFolder(absl::string_view folder) {
  if (absl::EndsWith(folder, ".gguf")) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder,
                     " is a GGUF file; make a directory of it first: narrow "
                     "convert ",
                     folder, " --to hf"));
  }
  if (!IsDirectory(folder)) {
    return absl::NotFoundError(
        absl::StrCat("no model directory; opening ", folder));
  }
  if (!FileExists(JoinPath(folder, "config.json"))) {
    return absl::NotFoundError(absl::StrCat(
        "no config.json in the model's directory; opening ", folder));
  }
  return absl::OkStatus();
}

}  // namespace

QuantType ModelInput::StoredType(const TensorView& view) const {
  if (view.rows == nullptr) {
    return view.meta.type;
  }
  for (const PackedModule& module : packed) {
    if (view.meta.name == module.name + ".weight") {
      return dtype;
    }
  }
  return merged == nullptr ? dtype : merged->stored_type(view.meta.name);
}

absl::StatusOr<std::unique_ptr<const ModelInput>> OpenModelInput(
    absl::string_view folder, const ModelInputOptions& options) {
  RETURN_IF_ERROR(CheckFolder(folder));
  auto input = std::make_unique<ModelInput>();
  input->folder = std::string(folder);
  const std::string path = JoinPath(folder, "config.json");
  ASSIGN_OR_RETURN(input->config_text, ReadTextFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(input->config_json,
                   JsonDocument::Parse(input->config_text, path));
  const JsonValue root = input->config_json->root();
  if (!root.is_object()) {
    return root.Error("expected an object");
  }
  if (const auto type = root.FindNonNull("model_type")) {
    ASSIGN_OR_RETURN(const absl::string_view name, type->GetString());
    input->model_type = std::string(name);
  }
  ASSIGN_OR_RETURN(input->source, OpenSafetensorsFolder(folder));
  const auto quantization = root.FindNonNull("quantization_config");
  if (quantization.has_value()) {
    if (!options.decode_quantized) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the model is quantized already, which quantizing again would make "
          "worse; take the original one, or say --decode-quantized; reading ",
          path));
    }
    ASSIGN_OR_RETURN(UnpackedSource unpacked,
                     UnpackSource(std::move(input->source), *quantization));
    input->source = std::move(unpacked.source);
    input->was_quantized = true;
    input->packing = unpacked.packing;
    input->packed = std::move(unpacked.modules);
  }
  if (!options.lora_folder.empty()) {
    ASSIGN_OR_RETURN(auto merged,
                     MergeLora(std::move(input->source), options.lora_folder));
    input->merged = merged.get();
    input->source = std::move(merged);
  }
  const auto hf = HfConfig::Parse(input->config_text, path);
  const ArchSpec* arch =
      hf.ok() ? FindArchByHfName((*hf)->architecture()) : nullptr;
  if (arch != nullptr) {
    ASSIGN_OR_RETURN(input->hf, HfConfig::Parse(input->config_text, path));
    ASSIGN_OR_RETURN(input->config, ModelConfigFromHf(*input->hf, *arch));
    input->arch = arch;
  }
  input->dtype = DtypeOf(*input);
  return input;
}

}  // namespace narrow
