#include "formats/packing/packed_source.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Rows that can be unpacked by themselves begin at multiples of this.
int64_t RowStep(const WeightScheme& scheme, int64_t n_cols) {
  if (scheme.flat) {
    return scheme.block_cols > 0
               ? scheme.block_cols / std::gcd(scheme.block_cols, n_cols)
               : 1;
  }
  return std::max<int64_t>(scheme.block_rows, 1);
}

class PackedRows : public RowSource {
 public:
  explicit PackedRows(const PackedModule* module)
      : module_(module), step_(RowStep(module->scheme, module->n_cols)) {}

  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    if (n_rows <= 0) {
      return absl::OkStatus();
    }
    const int64_t begin = first_row / step_ * step_;
    const int64_t end = std::min(
        (first_row + n_rows + step_ - 1) / step_ * step_, module_->n_rows);
    const auto matrix = module_->packing->unpack(*module_, begin, end - begin);
    RETURN_IF_ERROR(Annotate(
        matrix.status(), absl::StrCat("decoding ", QuotedName(module_->name))));
    DequantizeRows(*matrix, first_row - begin, n_rows, out);
    return absl::OkStatus();
  }

  int64_t n_stored_bytes() const override {
    int64_t n = 0;
    for (const TensorView* plane : module_->planes) {
      n += plane == nullptr ? 0 : plane->meta.n_bytes();
    }
    return n;
  }

  const PackedModule* packed() const override { return module_; }

 private:
  const PackedModule* const module_;
  const int64_t step_;
};

class PackedSource : public TensorSource {
 public:
  // `modules` outlive this: they are members of it.
  PackedSource(std::unique_ptr<TensorSource> inner,
               std::vector<PackedModule> modules)
      : inner_(std::move(inner)), modules_(std::move(modules)) {}

  // DataLoss: two tensors of one name.
  absl::Status Index() {
    std::unordered_map<const TensorView*, const PackedModule*> owner;
    for (const PackedModule& module : modules_) {
      for (const TensorView* plane : module.planes) {
        if (plane != nullptr) {
          owner.emplace(plane, &module);
        }
      }
    }
    std::unordered_set<const PackedModule*> shown;
    for (const TensorView& view : inner_->tensors()) {
      const auto it = owner.find(&view);
      if (it == owner.end()) {
        RETURN_IF_ERROR(Add(view));
      } else if (shown.insert(it->second).second) {
        RETURN_IF_ERROR(Add(ViewOf(*it->second, view.origin)));
      }
    }
    return absl::OkStatus();
  }

  const std::vector<PackedModule>& modules() const { return modules_; }

  absl::Span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* Find(absl::string_view name) const override {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  const Metadata& metadata() const override { return inner_->metadata(); }
  absl::string_view format() const override { return inner_->format(); }
  void Release(absl::Span<const uint8_t> range) const override {
    inner_->Release(range);
  }

 private:
  // At the place of the first plane in the file.
  TensorView ViewOf(const PackedModule& module, const Origin& origin) {
    rows_.push_back(std::make_unique<PackedRows>(&module));
    TensorView view;
    view.meta.name = absl::StrCat(module.name, ".weight");
    view.meta.type = QuantType::kF32;
    view.meta.shape = {module.n_rows, module.n_cols};
    view.origin = origin;
    view.rows = rows_.back().get();
    return view;
  }

  absl::Status Add(TensorView view) {
    if (!index_.emplace(view.meta.name, tensors_.size()).second) {
      return absl::DataLossError(
          absl::StrCat("tensor ", QuotedName(view.meta.name),
                       " is there packed and as it is; at offset ",
                       view.origin.offset, "; reading ", view.origin.file));
    }
    tensors_.push_back(std::move(view));
    return absl::OkStatus();
  }

  const std::unique_ptr<TensorSource> inner_;
  const std::vector<PackedModule> modules_;
  std::vector<std::unique_ptr<PackedRows>> rows_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace

absl::StatusOr<UnpackedSource> UnpackSource(std::unique_ptr<TensorSource> inner,
                                            const JsonValue& config) {
  UnpackedSource result;
  ASSIGN_OR_RETURN(result.packing, RecognisePacking(config));
  ASSIGN_OR_RETURN(result.modules, result.packing->find(config, *inner));
  auto source =
      std::make_unique<PackedSource>(std::move(inner), result.modules);
  RETURN_IF_ERROR(source->Index());
  result.source = std::move(source);
  return result;
}

}  // namespace narrow
