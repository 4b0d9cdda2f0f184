#include "formats/lora/merge_lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"
#include "formats/lora/lora_adapter.h"
#include "formats/tensor_rows.h"

namespace narrow {
namespace {

void RoundTo(QuantType type, int64_t n, float* values) {
  if (type == QuantType::kF32) {
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    values[i] = type == QuantType::kF16
                    ? FloatFromF16(F16FromFloat(values[i]))
                    : FloatFromBf16(Bf16FromFloat(values[i]));
  }
}

// What the rows of one tensor are made of.
struct Merge {
  const TensorView* base = nullptr;     // of the model, or its replacement
  QuantType type = QuantType::kF32;     // of the model's own
  const LoraModule* module = nullptr;   // of a weight; null: none
  const LoraModule* bias_of = nullptr;  // of a bias; null: none
  bool transposed = false;              // the weight is [inputs, outputs]
};

class MergedRows : public RowSource {
 public:
  explicit MergedRows(const Merge& merge) : merge_(merge) {}

  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    const int64_t n_cols = merge_.base->meta.n_cols();
    RETURN_IF_ERROR(ReadTensorRows(*merge_.base, first_row, n_rows, out));
    if (merge_.module != nullptr) {
      RETURN_IF_ERROR(AddProduct(first_row, n_rows, out));
    }
    if (merge_.bias_of != nullptr) {
      RETURN_IF_ERROR(AddBias(out));
    }
    RoundTo(merge_.type, n_rows * n_cols, out);
    return CheckFinite(first_row, n_rows * n_cols, out);
  }

  int64_t n_stored_bytes() const override {
    return merge_.base->rows != nullptr ? merge_.base->rows->n_stored_bytes()
                                        : merge_.base->meta.n_bytes();
  }

 private:
  // A matrix of the adapter, in float32.
  static absl::StatusOr<std::vector<float>> Read(const TensorView& view) {
    std::vector<float> values(static_cast<size_t>(view.meta.n_elements()));
    RETURN_IF_ERROR(ReadTensorRows(view, 0, view.meta.n_rows(), values.data()));
    return values;
  }

  // out += scaling * left rows * right, where left is B and right A, or their
  // transposes for weights that lie the other way round.
  absl::Status AddProduct(int64_t first_row, int64_t n_rows, float* out) const {
    const LoraModule& m = *merge_.module;
    const size_t rank = static_cast<size_t>(m.strength.rank);
    const size_t n_cols = static_cast<size_t>(merge_.base->meta.n_cols());
    ASSIGN_OR_RETURN(const std::vector<float> a, Read(*m.a));
    std::vector<float> left(static_cast<size_t>(n_rows) * rank);
    std::vector<float> transposed_b;
    if (merge_.transposed) {
      const size_t n = a.size() / rank;  // rows of the weight
      for (size_t i = 0; i < static_cast<size_t>(n_rows); ++i) {
        for (size_t k = 0; k < rank; ++k) {
          left[i * rank + k] = a[k * n + static_cast<size_t>(first_row) + i];
        }
      }
      ASSIGN_OR_RETURN(const std::vector<float> b, Read(*m.b));
      transposed_b.resize(b.size());
      for (size_t j = 0; j < n_cols; ++j) {
        for (size_t k = 0; k < rank; ++k) {
          transposed_b[k * n_cols + j] = b[j * rank + k];
        }
      }
    } else {
      RETURN_IF_ERROR(ReadTensorRows(*m.b, first_row, n_rows, left.data()));
    }
    const float* right = merge_.transposed ? transposed_b.data() : a.data();
    std::vector<float> magnitude;
    if (m.magnitude != nullptr) {
      ASSIGN_OR_RETURN(magnitude, Read(*m.magnitude));
    }
    std::vector<float> sum(n_cols);
    for (size_t i = 0; i < static_cast<size_t>(n_rows); ++i) {
      float* row = out + i * n_cols;
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (size_t k = 0; k < rank; ++k) {
        const float factor = left[i * rank + k];
        const float* line = right + k * n_cols;
        for (size_t j = 0; j < n_cols; ++j) {
          sum[j] += factor * line[j];
        }
      }
      for (size_t j = 0; j < n_cols; ++j) {
        row[j] += sum[j] * m.strength.scaling;
      }
      if (!magnitude.empty()) {
        SetLength(magnitude[static_cast<size_t>(first_row) + i], n_cols, row);
      }
    }
    return absl::OkStatus();
  }

  // What is not a number in an adapter would spread over a whole model.
  absl::Status CheckFinite(int64_t first_row, int64_t n,
                           const float* values) const {
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) {
        return absl::DataLossError(
            absl::StrCat("row ", first_row + i / merge_.base->meta.n_cols(),
                         " of ", QuotedName(merge_.base->meta.name),
                         " is not finite after merging; reading ",
                         merge_.base->origin.file));
      }
    }
    return absl::OkStatus();
  }

  static void SetLength(float length, size_t n, float* row) {
    double squares = 0;
    for (size_t j = 0; j < n; ++j) {
      squares += static_cast<double>(row[j]) * row[j];
    }
    const float factor = length / static_cast<float>(std::sqrt(squares));
    for (size_t j = 0; j < n; ++j) {
      row[j] *= factor;
    }
  }

  absl::Status AddBias(float* out) const {
    ASSIGN_OR_RETURN(const std::vector<float> bias,
                     Read(*merge_.bias_of->b_bias));
    for (size_t i = 0; i < bias.size(); ++i) {
      out[i] += bias[i] * merge_.bias_of->strength.scaling;
    }
    return absl::OkStatus();
  }

  const Merge merge_;
};

std::string ShapeText(const TensorView& view) {
  return absl::StrCat("[", absl::StrJoin(view.meta.shape, ", "), "]");
}

class LoraSource final : public MergedSource {
 public:
  LoraSource(std::unique_ptr<TensorSource> inner,
             std::unique_ptr<const LoraAdapter> adapter)
      : inner_(std::move(inner)), adapter_(std::move(adapter)) {}

  absl::Status Build() {
    for (const TensorView& view : inner_->tensors()) {
      index_.emplace(view.meta.name, tensors_.size());
      tensors_.push_back(view);
    }
    for (const LoraReplacement& replacement : adapter_->replacements()) {
      RETURN_IF_ERROR(Replace(replacement));
    }
    for (const LoraModule& module : adapter_->modules()) {
      RETURN_IF_ERROR(AddModule(module));
    }
    for (const auto& [name, merge] : merges_) {
      RETURN_IF_ERROR(Show(name, merge));
    }
    return absl::OkStatus();
  }

  QuantType stored_type(absl::string_view name) const override {
    const auto merge = merges_.find(name);
    return merge != merges_.end() ? merge->second.type : Find(name)->meta.type;
  }

  absl::Span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* Find(absl::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  const Metadata& metadata() const override { return inner_->metadata(); }
  absl::string_view format() const override { return inner_->format(); }
  void Release(absl::Span<const uint8_t> range) const override {
    inner_->Release(range);
  }

 private:
  absl::Status Misfit(const TensorView& ours, const TensorView& base) const {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", QuotedName(ours.meta.name), " of the adapter is ",
        ShapeText(ours), ", which does not fit ", QuotedName(base.meta.name),
        ", ", ShapeText(base), "; reading ", ours.origin.file));
  }

  absl::Status NotThere(absl::string_view name, const TensorView& ours) const {
    std::vector<std::string> names;
    for (const TensorView& view : inner_->tensors()) {
      names.push_back(view.meta.name);
    }
    return absl::NotFoundError(absl::StrCat(
        "tensor ", QuotedName(ours.meta.name), " of the adapter changes ",
        QuotedName(name), ", which the model has not; the nearest is ",
        QuotedName(NearestName(name, names)), "; reading ", ours.origin.file));
  }

  // The merge of the model's tensor `name`, begun if there is none yet.
  absl::StatusOr<Merge*> MergeOf(absl::string_view name,
                                 const TensorView& ours) {
    const TensorView* base = inner_->Find(name);
    if (base == nullptr) {
      return NotThere(name, ours);
    }
    if (base->meta.type != QuantType::kF32 &&
        base->meta.type != QuantType::kF16 &&
        base->meta.type != QuantType::kBF16) {
      return absl::UnimplementedError(absl::StrCat(
          "merging into ", QuotedName(name), " of type ",
          TypeName(base->meta.type), "; reading ", base->origin.file));
    }
    Merge& merge = merges_[std::string(name)];
    if (merge.base == nullptr) {
      merge.base = base;
      merge.type = base->meta.type;
    }
    return &merge;
  }

  absl::Status Replace(const LoraReplacement& replacement) {
    if (inner_->Find(replacement.name) == nullptr && IsTiedCopy(replacement)) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(Merge * merge,
                     MergeOf(replacement.name, *replacement.tensor));
    if (replacement.tensor->meta.shape != merge->base->meta.shape) {
      return Misfit(*replacement.tensor, *merge->base);
    }
    merge->base = replacement.tensor;
    return absl::OkStatus();
  }

  // An output matrix that the adapter has too, the same as its embedding.
  bool IsTiedCopy(const LoraReplacement& copy) const {
    if (copy.name != "lm_head.weight") {
      return false;
    }
    for (const LoraReplacement& other : adapter_->replacements()) {
      if (absl::EndsWith(other.name, "embed_tokens.weight") &&
          other.tensor->meta.type == copy.tensor->meta.type &&
          other.tensor->data == copy.tensor->data) {
        return true;
      }
    }
    return false;
  }

  absl::Status AddModule(const LoraModule& module) {
    const std::string name = absl::StrCat(module.name, ".weight");
    ASSIGN_OR_RETURN(Merge * merge, MergeOf(name, *module.a));
    const TensorMeta& base = merge->base->meta;
    const int64_t n_in = module.a->meta.shape[1];
    const int64_t n_out = module.b->meta.shape[0];
    if (base.shape.size() != 2) {
      return Misfit(*module.a, *merge->base);
    }
    const bool fits = base.shape[0] == n_out && base.shape[1] == n_in;
    const bool fits_transposed =
        base.shape[0] == n_in && base.shape[1] == n_out;
    // PEFT takes the option back where a layer is not stored that way.
    merge->transposed =
        module.is_embedding ||
        (fits_transposed && (adapter_->config().fan_in_fan_out() || !fits));
    if (merge->transposed ? !fits_transposed : !fits) {
      const bool is_a = base.shape[merge->transposed ? 0 : 1] != n_in;
      return Misfit(is_a ? *module.a : *module.b, *merge->base);
    }
    if (merge->transposed && !module.is_embedding &&
        !adapter_->config().fan_in_fan_out()) {
      return Misfit(*module.a, *merge->base);
    }
    if (module.magnitude != nullptr) {
      RETURN_IF_ERROR(CheckMagnitude(module, *merge, n_out));
    }
    merge->module = &module;
    return module.b_bias == nullptr ? absl::OkStatus() : AddBiasOf(module);
  }

  absl::Status CheckMagnitude(const LoraModule& module, const Merge& merge,
                              int64_t n_out) const {
    if (merge.transposed) {
      return absl::UnimplementedError(
          absl::StrCat("merging DoRA of ", QuotedName(merge.base->meta.name),
                       ", which is stored [inputs, outputs]"));
    }
    return module.magnitude->meta.n_elements() == n_out
               ? absl::OkStatus()
               : Misfit(*module.magnitude, *merge.base);
  }

  absl::Status AddBiasOf(const LoraModule& module) {
    ASSIGN_OR_RETURN(Merge * merge, MergeOf(absl::StrCat(module.name, ".bias"),
                                            *module.b_bias));
    if (merge->base->meta.shape != module.b_bias->meta.shape ||
        merge->base->meta.shape.size() != 1) {
      return Misfit(*module.b_bias, *merge->base);
    }
    merge->bias_of = &module;
    return absl::OkStatus();
  }

  absl::Status Show(const std::string& name, const Merge& merge) {
    TensorView& view = tensors_[index_.at(name)];
    rows_.push_back(std::make_unique<MergedRows>(merge));
    view.meta.type = QuantType::kF32;
    view.data = {};
    view.rows = rows_.back().get();
    return absl::OkStatus();
  }

  const std::unique_ptr<TensorSource> inner_;
  const std::unique_ptr<const LoraAdapter> adapter_;
  absl::flat_hash_map<std::string, Merge> merges_;
  std::vector<std::unique_ptr<MergedRows>> rows_;
  std::vector<TensorView> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MergedSource>> MergeLora(
    std::unique_ptr<TensorSource> inner, absl::string_view adapter_folder) {
  ASSIGN_OR_RETURN(auto adapter, LoraAdapter::Open(adapter_folder));
  auto source =
      std::make_unique<LoraSource>(std::move(inner), std::move(adapter));
  absl::Status status = source->Build();
  if (!status.ok()) {
    return Annotate(status, absl::StrCat("merging ", adapter_folder));
  }
  return std::unique_ptr<MergedSource>(std::move(source));
}

}  // namespace narrow
