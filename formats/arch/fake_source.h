// Tensors in memory, for tests of what reads tensors.
//
//   FakeSource source;
//   source.Add("model.norm.weight", QuantType::kF32, {64});
//   source.Remove("lm_head.weight");

#ifndef NARROW_FORMATS_ARCH_FAKE_SOURCE_H_
#define NARROW_FORMATS_ARCH_FAKE_SOURCE_H_

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "formats/tensor.h"

namespace narrow {

class FakeSource : public TensorSource {
 public:
  explicit FakeSource(std::string file = "model.safetensors")
      : file_(std::move(file)) {}

  // Bytes count up from a value that depends on the tensor's number.
  TensorView& Add(const std::string& name, QuantType type,
                  std::vector<int64_t> shape) {
    TensorView view;
    view.meta = {name, type, std::move(shape)};
    data_.emplace_back(static_cast<size_t>(view.meta.n_bytes()));
    for (size_t i = 0; i < data_.back().size(); ++i) {
      data_.back()[i] = static_cast<uint8_t>((i + data_.size()) % 60);
    }
    view.data = data_.back();
    view.origin = {file_, static_cast<int64_t>(1000 * data_.size())};
    views_.push_back(std::move(view));
    return views_.back();
  }

  bool Remove(const std::string& name) {
    for (size_t i = 0; i < views_.size(); ++i) {
      if (views_[i].meta.name == name) {
        views_.erase(views_.begin() + static_cast<ptrdiff_t>(i));
        return true;
      }
    }
    return false;
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
  TensorView* FindMutable(absl::string_view name) {
    return const_cast<TensorView*>(Find(name));
  }
  const Metadata& metadata() const override { return metadata_; }
  Metadata* mutable_metadata() { return &metadata_; }
  absl::string_view format() const override { return "fake"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  std::string file_;
  std::vector<TensorView> views_;
  std::deque<std::vector<uint8_t>> data_;
  Metadata metadata_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_FAKE_SOURCE_H_
