// Tensors in memory, for tests of packings.
//
//   MemorySource source;
//   source.Add({"layer.weight", QuantType::kI8, {4, 32}}, bytes);
//   source.Mutable("layer.weight")->meta.shape = {4, 16};  // damage

#ifndef NARROW_FORMATS_PACKING_MEMORY_SOURCE_H_
#define NARROW_FORMATS_PACKING_MEMORY_SOURCE_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "formats/tensor.h"

namespace narrow {

class MemorySource : public TensorSource {
 public:
  // Its file is "packed.safetensors", its offset the bytes before it.
  void Add(TensorMeta meta, std::vector<uint8_t> bytes) {
    TensorView view;
    view.meta = std::move(meta);
    view.origin = {"packed.safetensors", n_bytes_};
    n_bytes_ += static_cast<int64_t>(bytes.size());
    bytes_.push_back(std::move(bytes));
    view.data = bytes_.back();
    views_.push_back(std::move(view));
  }
  void Add(absl::Span<const TensorMeta> metas,
           const std::vector<std::vector<uint8_t>>& planes) {
    for (size_t i = 0; i < metas.size(); ++i) {
      Add(metas[i], planes[i]);
    }
  }
  void Remove(absl::string_view name) {
    for (size_t i = 0; i < views_.size(); ++i) {
      if (views_[i].meta.name == name) {
        views_.erase(views_.begin() + static_cast<ptrdiff_t>(i));
        return;
      }
    }
  }
  // nullptr if there is none.
  TensorView* Mutable(absl::string_view name) {
    return const_cast<TensorView*>(Find(name));
  }
  // Other bytes, and another size if they are more or fewer.
  void SetBytes(absl::string_view name, std::vector<uint8_t> bytes) {
    bytes_.push_back(std::move(bytes));
    Mutable(name)->data = bytes_.back();
  }

  absl::Span<const TensorView> tensors() const override { return views_; }
  const TensorView* Find(absl::string_view name) const override {
    for (const TensorView& view : views_) {
      if (view.meta.name == name) {
        return &view;
      }
    }
    return nullptr;
  }
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return "memory"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  std::vector<TensorView> views_;
  std::deque<std::vector<uint8_t>> bytes_;  // their addresses stay
  int64_t n_bytes_ = 0;
  Metadata metadata_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_MEMORY_SOURCE_H_
