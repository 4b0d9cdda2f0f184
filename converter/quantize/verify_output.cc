#include "converter/quantize/verify_output.h"

#include <memory>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/safetensors/safetensors_reader.h"

namespace narrow {
namespace {

absl::Status VerifyModule(const PackedModule& module, const PlannedLayer& layer,
                          const LayerReport& report, ThreadPool* pool) {
  if (module.n_rows != layer.n_rows() || module.n_cols != layer.n_cols()) {
    return absl::InternalError(absl::StrCat(
        "layer '", module.name, "' was written as ",
        ShapeString({layer.n_rows(), layer.n_cols()}), " and reads as ",
        ShapeString({module.n_rows, module.n_cols})));
  }
  ASSIGN_OR_RETURN(const QuantizedMatrix matrix,
                   module.packing->unpack(module, 0, module.n_rows));
  return HashMatrix(matrix, pool) == report.hash
             ? absl::OkStatus()
             : absl::InternalError(absl::StrCat(
                   "layer '", module.name, "' (", SchemeName(layer.scheme),
                   ") reads as other weights than were written"));
}

}  // namespace

absl::Status VerifyOutput(const std::string& folder, const QuantizePlan& plan,
                          const std::vector<LayerReport>& reports,
                          ThreadPool* pool) {
  ASSIGN_OR_RETURN(const auto config,
                   JsonDocument::ReadFile(JoinPath(folder, "config.json")));
  ASSIGN_OR_RETURN(const JsonValue quantization,
                   config->root().Get("quantization_config"));
  if (!plan.packing->recognises(quantization)) {
    return absl::InternalError(absl::StrCat(
        "the configuration is not recognised as ", plan.packing->name));
  }
  ASSIGN_OR_RETURN(const auto source, OpenSafetensorsFolder(folder));
  ASSIGN_OR_RETURN(std::vector<PackedModule> modules,
                   plan.packing->find(quantization, *source));
  std::unordered_map<std::string, const PackedModule*> by_name;
  for (PackedModule& module : modules) {
    module.packing = plan.packing;
    by_name[module.name] = &module;
  }
  if (modules.size() != plan.layers.size()) {
    return absl::InternalError(absl::StrCat(plan.layers.size(),
                                            " layers were written, ",
                                            modules.size(), " are read"));
  }
  std::unordered_map<std::string, const LayerReport*> report_of;
  for (const LayerReport& report : reports) {
    report_of[report.name] = &report;
  }
  for (const PlannedLayer& layer : plan.layers) {
    const auto module = by_name.find(layer.linear->module);
    const auto report = report_of.find(layer.name());
    if (module == by_name.end() || report == report_of.end()) {
      return absl::InternalError(
          absl::StrCat("layer '", layer.linear->module, "' is not read"));
    }
    RETURN_IF_ERROR(
        VerifyModule(*module->second, layer, *report->second, pool));
    for (const TensorView* plane : module->second->planes) {
      if (plane != nullptr) {
        source->Release(plane->data);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
