#include "converter/repack/repack.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/packed_output/config_json.h"
#include "converter/packed_output/output_folder.h"
#include "converter/packed_output/side_files.h"
#include "converter/quantize/linear_layers.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/output_layout.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/write_tensors.h"
#include "converter/repack/gguf_source.h"
#include "converter/repack/refit_matrix.h"
#include "converter/repack/repack_source.h"
#include "converter/repack/repack_to_gguf.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/packing/packing.h"

namespace narrow {
namespace {

// A directory that is packed already: everything else in it is copied.
class DirectorySource : public RepackSource {
 public:
  explicit DirectorySource(std::unique_ptr<const ModelInput> input)
      : input_(std::move(input)) {}

  absl::string_view from() const override { return input_->packing->name; }
  const ModelInput& input() const override { return *input_; }

  absl::StatusOr<QuantizedMatrix> ReadLayer(int layer) const override {
    const PackedModule& module = input_->packed[static_cast<size_t>(layer)];
    ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                     module.packing->unpack(module, 0, module.n_rows));
    for (const TensorView* plane : module.planes) {
      if (plane != nullptr) {
        input_->source->Release(plane->data);
      }
    }
    return matrix;
  }

  QuantType DenseType(const TensorView& view) const override {
    return view.meta.type;
  }

  absl::Status WriteSideFiles(absl::string_view folder,
                              absl::string_view) const override {
    ASSIGN_OR_RETURN(std::vector<std::string> files,
                     ListSideFiles(input_->folder));
    if (FileExists(JoinPath(input_->folder, "README.md"))) {
      files.push_back("README.md");
    }
    return CopySideFiles(input_->folder, files, folder);
  }

  std::vector<std::string> Notes() const override { return {}; }

 private:
  const std::unique_ptr<const ModelInput> input_;
};

absl::StatusOr<std::unique_ptr<const RepackSource>> OpenDirectorySource(
    absl::string_view folder) {
  ModelInputOptions options;
  options.decode_quantized = true;
  ASSIGN_OR_RETURN(auto input, OpenModelInput(folder, options));
  if (input->packed.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model has no quantized layers to repack; `narrow quantize` makes "
        "them; reading ",
        folder));
  }
  return std::make_unique<DirectorySource>(std::move(input));
}

class Repacker {
 public:
  Repacker(const RepackSource& source, const Packing& to,
           const RepackOptions& options)
      : source_(source), input_(source.input()), to_(to), options_(options) {}

  // What every layer becomes, and every tensor of the output.
  absl::Status Plan() {
    layout_.model_dtype = input_.dtype;
    for (const PackedModule& module : input_.packed) {
      auto scheme =
          RefitScheme(module.scheme, module.n_rows, module.n_cols, to_);
      RETURN_IF_ERROR(InLayer(scheme.status(), module));
      PackedModule target = module;
      target.scheme = *scheme;
      target.packing = &to_;
      target.planes.clear();
      index_[absl::StrCat(module.name, ".weight")] =
          static_cast<int>(layout_.modules.size());
      layout_.modules.push_back(std::move(target));
    }
    RETURN_IF_ERROR(FindDense());
    ASSIGN_OR_RETURN(config_, to_.config(layout_));
    PlanTensors();
    return absl::OkStatus();
  }

  absl::Status Write(const std::string& folder) {
    if (options_.on_size) {
      options_.on_size(plan_.tensor_bytes);
    }
    WriteOptions write;
    write.n_threads = options_.n_threads;
    write.max_shard_bytes = options_.max_shard_bytes;
    write.on_progress = options_.on_written;
    write.cancelled = options_.cancelled;
    RETURN_IF_ERROR(WriteTensors(
        input_, plan_, folder, [this](int layer) { return PlanesOf(layer); },
        [](absl::string_view) { return nullptr; }, write));
    ASSIGN_OR_RETURN(const std::string config,
                     SetQuantizationConfig(input_.config_text, config_));
    RETURN_IF_ERROR(WriteTextFile(JoinPath(folder, "config.json"), config));
    if (to_.config_file != nullptr) {
      RETURN_IF_ERROR(WriteTextFile(JoinPath(folder, to_.config_file),
                                    absl::StrCat(config_, "\n")));
    }
    return source_.WriteSideFiles(folder, to_.name);
  }

  RepackResult Result() const {
    RepackResult result;
    result.from = std::string(source_.from());
    result.notes = source_.Notes();
    result.to = to_.name;
    result.n_layers = static_cast<int64_t>(layout_.modules.size());
    for (const PackedModule& module : layout_.modules) {
      result.n_weights += module.n_rows * module.n_cols;
    }
    for (const OutputTensor& tensor : plan_.tensors) {
      if (tensor.kind == OutputTensor::Kind::kPlane) {
        result.packed_bytes += tensor.meta.n_bytes();
      }
    }
    result.tensor_bytes = plan_.tensor_bytes;
    return result;
  }

 private:
  absl::Status InLayer(const absl::Status& status,
                       const PackedModule& module) const {
    return Annotate(status,
                    absl::StrCat("repacking ", QuotedName(module.name), " of ",
                                 input_.folder, " as ", to_.name));
  }

  absl::Status FindDense() {
    ASSIGN_OR_RETURN(const LinearLayers linears, FindLinearLayers(input_));
    for (const LinearLayer& linear : linears.layers) {
      if (index_.count(linear.view->meta.name) == 0 &&
          !IsLookedUp(linear.module)) {
        layout_.dense_linears.push_back(linear.module);
      }
    }
    layout_.dense_linears.insert(layout_.dense_linears.end(),
                                 linears.tied_heads.begin(),
                                 linears.tied_heads.end());
    return absl::OkStatus();
  }

  // Planes stand where the layer's first plane stood.
  void PlanTensors() {
    plan_.packing = &to_;
    plan_.layers.resize(layout_.modules.size());
    for (const TensorView& view : input_.source->tensors()) {
      const auto it = index_.find(view.meta.name);
      if (it == index_.end()) {
        OutputTensor tensor;
        tensor.meta = view.meta;
        tensor.meta.type = source_.DenseType(view);
        tensor.view = &view;
        if (view.rows != nullptr) {
          tensor.kind = OutputTensor::Kind::kEncode;
        }
        plan_.tensors.push_back(std::move(tensor));
        continue;
      }
      const PackedModule& module =
          layout_.modules[static_cast<size_t>(it->second)];
      const std::vector<TensorMeta> planes =
          to_.planes(module.scheme, module.name, module.n_rows, module.n_cols,
                     input_.dtype);
      for (size_t p = 0; p < planes.size(); ++p) {
        OutputTensor tensor;
        tensor.kind = OutputTensor::Kind::kPlane;
        tensor.meta = planes[p];
        tensor.layer = it->second;
        tensor.plane = static_cast<int>(p);
        plan_.tensors.push_back(std::move(tensor));
      }
    }
    AlignTensors(&plan_.tensors);
    for (const OutputTensor& tensor : plan_.tensors) {
      plan_.tensor_bytes += tensor.meta.n_bytes();
    }
  }

  absl::StatusOr<Planes> PlanesOf(int layer) const {
    const PackedModule& module = layout_.modules[static_cast<size_t>(layer)];
    auto matrix = source_.ReadLayer(layer);
    RETURN_IF_ERROR(InLayer(matrix.status(), module));
    auto same = RefitMatrix(*std::move(matrix), module.scheme);
    RETURN_IF_ERROR(InLayer(same.status(), module));
    auto planes = to_.pack(*same, input_.dtype);
    RETURN_IF_ERROR(InLayer(planes.status(), module));
    return planes;
  }

  const RepackSource& source_;
  const ModelInput& input_;
  const Packing& to_;
  const RepackOptions& options_;
  PackedLayout layout_;  // modules in the order of input_.packed
  std::unordered_map<std::string, int> index_;  // by name of the weight
  std::string config_;
  QuantizePlan plan_;  // only what WriteTensors reads
};

}  // namespace

absl::StatusOr<RepackResult> Repack(absl::string_view model,
                                    const RepackOptions& options) {
  if (options.format == "gguf") {
    return RepackToGguf(model, options);
  }
  const Packing* to = FindPacking(options.format);
  if (to == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--format: no packing '", options.format, "'; known are ",
                     KnownPackingNames(), ", gguf"));
  }
  ASSIGN_OR_RETURN(const auto source,
                   IsDirectory(model) ? OpenDirectorySource(model)
                                      : OpenGgufSource(model, *to, options));
  Repacker repacker(*source, *to, options);
  RETURN_IF_ERROR(repacker.Plan());
  ASSIGN_OR_RETURN(const auto out, OutputFolder::Create(options.out));
  RETURN_IF_ERROR(out->BeginWork("narrow repack", /*restart=*/true));
  RETURN_IF_ERROR(repacker.Write(out->path()));
  if (options.before_finish) {
    RETURN_IF_ERROR(options.before_finish(out->path()));
  }
  RETURN_IF_ERROR(out->Finish());
  return repacker.Result();
}

}  // namespace narrow
