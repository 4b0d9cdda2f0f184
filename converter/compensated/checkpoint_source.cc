#include "converter/compensated/checkpoint_source.h"

#include <unordered_set>
#include <utility>

#include "calibration/weights/weights.h"

namespace narrow {

class CheckpointSource::Rows : public RowSource {
 public:
  Rows(const Checkpoint* model, const CheckpointTensor* tensor)
      : model_(*model), tensor_(*tensor) {}

  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    return narrow::ReadRows(model_, tensor_, first_row, n_rows, out);
  }
  int64_t n_stored_bytes() const override {
    return model_.StoredBytes(tensor_);
  }

 private:
  const Checkpoint& model_;
  const CheckpointTensor& tensor_;
};

CheckpointSource::CheckpointSource(const Checkpoint* model,
                                   const std::vector<std::string>& names)
    : model_(*model) {
  const std::unordered_set<std::string> wanted(names.begin(), names.end());
  for (const CheckpointTensor& tensor : model->tensors()) {
    if (wanted.count(tensor.meta.name) == 0) {
      continue;
    }
    rows_.push_back(std::make_unique<Rows>(model, &tensor));
    TensorView view;
    view.meta = tensor.meta;
    view.meta.type = QuantType::kF32;
    view.origin = tensor.origin;
    view.rows = rows_.back().get();
    index_.emplace(view.meta.name, tensors_.size());
    tensors_.push_back(std::move(view));
  }
}

CheckpointSource::~CheckpointSource() = default;

const TensorView* CheckpointSource::Find(absl::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

void CheckpointSource::Release(absl::Span<const uint8_t> /*range*/) const {}

}  // namespace narrow
