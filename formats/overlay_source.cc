#include "formats/overlay_source.h"

#include <cstring>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Rows of a tensor that its file has as plain numbers.
absl::Status DecodePlainRows(const TensorView& view, int64_t first_row,
                             int64_t n_rows, float* out) {
  const int64_t first = first_row * view.meta.n_cols();
  const int64_t n = n_rows * view.meta.n_cols();
  const uint8_t* bytes = view.data.data();
  if (view.meta.type == QuantType::kF32) {
    std::memcpy(out, bytes + first * 4, static_cast<size_t>(n) * 4);
    return absl::OkStatus();
  }
  const bool is_f16 = view.meta.type == QuantType::kF16;
  if (!is_f16 && view.meta.type != QuantType::kBF16) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(view.meta.name), " is ", TypeName(view.meta.type),
        ", and only f32, f16 and bf16 are read; ", "at offset ",
        view.origin.offset, "; reading ", view.origin.file));
  }
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + (first + i) * 2, sizeof(half));
    out[i] = is_f16 ? FloatFromF16(half) : FloatFromBf16(half);
  }
  return absl::OkStatus();
}

}  // namespace

class OverlaySource::Slot : public RowSource {
 public:
  // While *show_original, the inner source's rows.
  Slot(const TensorView* inner, const bool* show_original)
      : inner_(inner), show_original_(show_original) {}

  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    const int64_t n_cols = inner_->meta.n_cols();
    if (values_ && !*show_original_) {
      std::memcpy(out, values_->data() + first_row * n_cols,
                  static_cast<size_t>(n_rows * n_cols) * sizeof(float));
      return absl::OkStatus();
    }
    if (inner_->rows != nullptr) {
      return inner_->rows->ReadRows(first_row, n_rows, out);
    }
    return DecodePlainRows(*inner_, first_row, n_rows, out);
  }

  int64_t n_stored_bytes() const override {
    return inner_->rows != nullptr ? inner_->rows->n_stored_bytes()
                                   : inner_->meta.n_bytes();
  }

  const TensorMeta& meta() const { return inner_->meta; }
  void set_values(std::vector<float> values) { values_ = std::move(values); }
  void Clear() { values_.reset(); }

 private:
  const TensorView* const inner_;
  const bool* const show_original_;
  std::optional<std::vector<float>> values_;
};

OverlaySource::OverlaySource(std::unique_ptr<TensorSource> inner,
                             const std::vector<std::string>& replaceable)
    : inner_(std::move(inner)) {
  const std::unordered_set<std::string> names(replaceable.begin(),
                                              replaceable.end());
  for (const TensorView& view : inner_->tensors()) {
    index_.emplace(view.meta.name, tensors_.size());
    tensors_.push_back(view);
    if (names.count(view.meta.name) == 0 || view.meta.shape.size() < 2 ||
        view.meta.shape.size() > 3) {
      continue;
    }
    auto slot = std::make_unique<Slot>(&view, &show_originals_);
    TensorView& shown = tensors_.back();
    shown.meta.type = QuantType::kF32;
    shown.data = {};
    shown.rows = slot.get();
    slots_.emplace(view.meta.name, std::move(slot));
  }
}

OverlaySource::~OverlaySource() = default;

absl::Status OverlaySource::Replace(absl::string_view name,
                                    std::vector<float> values) {
  const auto it = slots_.find(std::string(name));
  if (it == slots_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no tensor ", QuotedName(name), " that can be replaced"));
  }
  const int64_t n = it->second->meta().n_elements();
  if (static_cast<int64_t>(values.size()) != n) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", QuotedName(name), " has ", n,
                     " elements, its replacement ", values.size()));
  }
  it->second->set_values(std::move(values));
  return absl::OkStatus();
}

void OverlaySource::Restore(absl::string_view name) {
  const auto it = slots_.find(std::string(name));
  if (it != slots_.end()) {
    it->second->Clear();
  }
}

const TensorView* OverlaySource::Find(absl::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace narrow
