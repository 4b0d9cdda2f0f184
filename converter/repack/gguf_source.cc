#include "converter/repack/gguf_source.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/hf/hf_export.h"
#include "converter/quantize/linear_layers.h"
#include "converter/repack/gguf_blocks.h"
#include "converter/repack/refit_matrix.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/base/file.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Weights that are read at once when types are tried.
constexpr int64_t kTrialWeights = int64_t{1} << 20;

bool IsPlain(QuantType type) {
  return type == QuantType::kF32 || type == QuantType::kF16 ||
         type == QuantType::kBF16;
}

float Rounded(QuantType type, float value) {
  return type == QuantType::kBF16  ? FloatFromBf16(Bf16FromFloat(value))
         : type == QuantType::kF16 ? FloatFromF16(F16FromFloat(value))
                                   : value;
}

// A tensor's rows as the checkpoint has them.
class ExportedRows : public RowSource {
 public:
  ExportedRows(const Checkpoint* model, const DisassembledTensor* tensor)
      : model_(model), tensor_(tensor) {}
  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    return ReadExportedRows(*model_, *tensor_, first_row, n_rows, out);
  }

 private:
  const Checkpoint* const model_;
  const DisassembledTensor* const tensor_;
};

// The tensors of an export, all of them by rows.
class ExportSource : public TensorSource {
 public:
  ExportSource(const Checkpoint* model, const HfExport& plan) {
    for (const DisassembledTensor& tensor : plan.tensors) {
      rows_.emplace_back(model, &tensor);
      TensorView view;
      view.meta = tensor.meta;
      view.meta.type = QuantType::kF32;
      view.origin = tensor.source->origin;
      view.rows = &rows_.back();
      index_.emplace(view.meta.name, views_.size());
      views_.push_back(std::move(view));
    }
  }
  absl::Span<const TensorView> tensors() const override { return views_; }
  const TensorView* Find(absl::string_view name) const override {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? nullptr : &views_[it->second];
  }
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return "gguf"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  std::deque<ExportedRows> rows_;
  std::vector<TensorView> views_;
  std::unordered_map<std::string, size_t> index_;
  Metadata metadata_;
};

class GgufSource : public RepackSource {
 public:
  GgufSource(std::unique_ptr<const Checkpoint> model, const Packing& to,
             const RepackOptions& options)
      : model_(std::move(model)), to_(to), allow_dense_(options.allow_dense) {}

  absl::Status Open(const RepackOptions& options) {
    HfExportOptions export_options;
    export_options.dtype = options.dtype;
    ASSIGN_OR_RETURN(plan_, PlanHfExport(*model_, export_options));
    notes_ = plan_.warnings;
    RETURN_IF_ERROR(MakeInput());
    RETURN_IF_ERROR(ChooseLayers());
    if (input_.packed.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "no linear layer is q4_0, q4_1, q8_0 or mxfp4, so there is nothing "
          "to repack; `narrow convert --to hf` makes a dense directory; "
          "reading ",
          model_->path()));
    }
    return absl::OkStatus();
  }

  absl::string_view from() const override { return "gguf"; }
  const ModelInput& input() const override { return input_; }

  absl::StatusOr<QuantizedMatrix> ReadLayer(int layer) const override {
    const DisassembledTensor& tensor = *layers_[static_cast<size_t>(layer)];
    auto matrix = ReadBlocks(tensor.source->stored, tensor.meta.n_rows(),
                             tensor.meta.n_cols(), [&](int64_t row) {
                               return model_->RowBytes(*tensor.source,
                                                       SourceRow(tensor, row));
                             });
    RETURN_IF_ERROR(
        Annotate(matrix.status(),
                 absl::StrCat("tensor '", tensor.source->meta.name,
                              "'; reading ", tensor.source->origin.file)));
    model_->Release(*tensor.source, tensor.first_row, tensor.meta.n_rows());
    n_scales_ += static_cast<int64_t>(matrix->scales.size());
    n_negative_ += std::count_if(matrix->scales.begin(), matrix->scales.end(),
                                 [](float scale) { return scale < 0; });
    return matrix;
  }

  QuantType DenseType(const TensorView& view) const override {
    return dense_types_.at(view.meta.name);
  }

  absl::Status WriteSideFiles(absl::string_view folder,
                              absl::string_view to) const override {
    for (const auto& [name, contents] : plan_.files) {
      if (name != "config.json") {
        RETURN_IF_ERROR(WriteTextFile(JoinPath(folder, name), contents));
      }
    }
    return WriteTextFile(JoinPath(folder, "README.md"), ModelCard(to));
  }

  std::vector<std::string> Notes() const override {
    std::vector<std::string> notes = notes_;
    if (n_negative_ > 0) {
      notes.push_back(absl::StrCat(
          n_negative_.load(), " of ", n_scales_.load(),
          " scales are negative, as q4_0 has them; weight = (code - zero) * "
          "scale holds for them too, and clients on CPUs compute it; GPU "
          "kernels were not tried"));
    }
    return notes;
  }

 private:
  absl::Status MakeInput() {
    for (const auto& [name, contents] : plan_.files) {
      if (name == "config.json") {
        input_.config_text = contents;
      }
    }
    input_.folder = model_->path();
    const std::string file = absl::StrCat(model_->path(), " (config.json)");
    ASSIGN_OR_RETURN(input_.config_json,
                     JsonDocument::Parse(input_.config_text, file));
    ASSIGN_OR_RETURN(input_.hf, HfConfig::Parse(input_.config_text, file));
    input_.arch = FindArchByHfName(input_.hf->architecture());
    if (input_.arch == nullptr) {
      return absl::InternalError(absl::StrCat("no family has the class ",
                                              input_.hf->architecture(),
                                              ", which we wrote"));
    }
    ASSIGN_OR_RETURN(input_.config,
                     ModelConfigFromHf(*input_.hf, *input_.arch));
    input_.dtype = plan_.dtype;
    input_.source = std::make_unique<ExportSource>(model_.get(), plan_);
    return absl::OkStatus();
  }

  absl::Status ChooseLayers() {
    ASSIGN_OR_RETURN(const LinearLayers linears, FindLinearLayers(input_));
    std::unordered_set<std::string> multiplied;
    for (const LinearLayer& linear : linears.layers) {
      if (linear.known >= 0 &&
          !linears.known[static_cast<size_t>(linear.known)].is_router) {
        multiplied.insert(linear.view->meta.name);
      }
    }
    for (const DisassembledTensor& tensor : plan_.tensors) {
      const bool is_linear = multiplied.count(tensor.meta.name) > 0;
      ASSIGN_OR_RETURN(const bool packed, AddLayer(tensor, is_linear));
      if (!packed) {
        ASSIGN_OR_RETURN(const QuantType type, TypeOfDense(tensor));
        dense_types_.emplace(tensor.meta.name, type);
      }
    }
    return absl::OkStatus();
  }

  // False: the tensor becomes dense. An error: that would lose something.
  absl::StatusOr<bool> AddLayer(const DisassembledTensor& tensor,
                                bool is_linear) {
    const QuantType stored = tensor.source->stored;
    if (IsPlain(stored)) {
      return false;
    }
    std::string why;
    if (!IsBlockType(stored)) {
      why = absl::StrCat("no packing has the codes of ", TypeName(stored));
    } else if (!is_linear) {
      why = "clients look it up and cannot read it packed";
    } else if (!tensor.source->scales.empty()) {
      why = absl::StrCat("it has a scale of its own besides, '",
                         tensor.source->meta.name, "'s .scale");
    } else {
      const WeightScheme scheme = SchemeOfBlocks(stored);
      const auto refit =
          RefitScheme(scheme, tensor.meta.n_rows(), tensor.meta.n_cols(), to_);
      if (refit.ok()) {
        PackedModule module;
        module.name = ModuleOf(tensor.meta.name);
        module.scheme = scheme;
        module.n_rows = tensor.meta.n_rows();
        module.n_cols = tensor.meta.n_cols();
        input_.packed.push_back(std::move(module));
        layers_.push_back(&tensor);
        return true;
      }
      why = std::string(refit.status().message());
    }
    const std::string what =
        absl::StrCat("tensor '", tensor.source->meta.name, "' (",
                     tensor.meta.name, ") is ", TypeName(stored));
    if (!allow_dense_) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, " and cannot be repacked as ", to_.name, ": ", why,
                       "; --allow-dense decodes it to ", TypeName(plan_.dtype),
                       "; reading ", tensor.source->origin.file));
    }
    notes_.push_back(absl::StrCat(what, ": decoded to ", TypeName(plan_.dtype),
                                  ", dense (", why, ")"));
    return false;
  }

  // The model's type if that holds every element, else the file's.
  absl::StatusOr<QuantType> TypeOfDense(const DisassembledTensor& tensor) {
    const QuantType stored = tensor.source->stored;
    if (!IsPlain(stored)) {
      return plan_.dtype;
    }
    if (stored != QuantType::kF32 && tensor.offset == 0) {
      return stored;
    }
    for (const QuantType type : {plan_.dtype, QuantType::kF32}) {
      ASSIGN_OR_RETURN(const bool holds, Holds(tensor, type));
      if (holds) {
        return type;
      }
    }
    const std::string what = absl::StrCat("tensor '", tensor.source->meta.name,
                                          "' (", tensor.meta.name, ")");
    if (!allow_dense_) {
      return absl::InvalidArgumentError(absl::StrCat(
          what,
          " less 1, as checkpoints have it, loses bits in float32; "
          "--allow-dense rounds it to ",
          TypeName(plan_.dtype), "; reading ", tensor.source->origin.file));
    }
    notes_.push_back(
        absl::StrCat(what, ": rounded to ", TypeName(plan_.dtype)));
    return plan_.dtype;
  }

  // Whether a conversion of the output would give the file's numbers again.
  absl::StatusOr<bool> Holds(const DisassembledTensor& tensor,
                             QuantType type) const {
    if (type == QuantType::kF32 && tensor.offset == 0) {
      return true;
    }
    DisassembledTensor stored = tensor;
    stored.offset = 0;
    const int64_t n_rows = tensor.meta.n_rows();
    const int64_t n_cols = tensor.meta.n_cols();
    const int64_t step = std::max<int64_t>(1, kTrialWeights / n_cols);
    std::vector<float> values;
    for (int64_t row = 0; row < n_rows; row += step) {
      const int64_t n = std::min(step, n_rows - row);
      values.resize(static_cast<size_t>(n * n_cols));
      RETURN_IF_ERROR(ReadExportedRows(*model_, stored, row, n, values.data()));
      for (const float value : values) {
        const float kept = Rounded(type, value + tensor.offset);
        if (kept - tensor.offset != value) {
          return false;
        }
      }
    }
    return true;
  }

  std::string ModelCard(absl::string_view to) const {
    const std::string& path = model_->path();
    std::string card = absl::StrCat(
        "# ",
        OneLine(model_->metadata().GetString("general.name").value_or(path)),
        "\n\nRepacked as ", to, " from the GGUF file ",
        OneLine(path.substr(path.rfind('/') + 1)),  // npos + 1 is 0
        " by `narrow repack`: ", input_.packed.size(),
        " layers keep their codes and scales, so every weight is the number "
        "that it was.\n");
    for (const std::string& note : Notes()) {
      absl::StrAppend(&card, "\n- ", OneLine(note));
    }
    return absl::StrCat(card, "\n");
  }

  const std::unique_ptr<const Checkpoint> model_;
  const Packing& to_;
  const bool allow_dense_;
  HfExport plan_;
  ModelInput input_;
  std::vector<const DisassembledTensor*> layers_;  // as in input_.packed
  std::unordered_map<std::string, QuantType> dense_types_;  // by name
  std::vector<std::string> notes_;
  mutable std::atomic<int64_t> n_scales_{0};
  mutable std::atomic<int64_t> n_negative_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<const RepackSource>> OpenGgufSource(
    absl::string_view path, const Packing& to, const RepackOptions& options) {
  ASSIGN_OR_RETURN(auto model, Checkpoint::Open(path, {}));
  auto source = std::make_unique<GgufSource>(std::move(model), to, options);
  RETURN_IF_ERROR(source->Open(options));
  return source;
}

}  // namespace narrow
