// Tested by: checkpoint_source_test, compensated_convert_test.

#include "converter/compensated/embedding/stored_embedding.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "calibration/weights/weights.h"
#include "formats/base/status.h"
#include "formats/tensor.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr char kEmbedding[] = "token_embd.weight";

// One matrix as the file will hold it.
class StoredSource : public TensorSource, private RowSource {
 public:
  StoredSource(const Checkpoint* model, const PlannedTensor* planned,
               const EncodedRows* solved)
      : model_(*model),
        planned_(*planned),
        solved_(solved),
        codec_(*FindCodec(planned->meta.type)) {
    view_.meta = planned->source->meta;
    view_.meta.type = QuantType::kF32;
    view_.origin = planned->source->origin;
    view_.rows = this;
  }

  absl::Span<const TensorView> tensors() const override { return {&view_, 1}; }
  const TensorView* Find(absl::string_view name) const override {
    return name == view_.meta.name ? &view_ : nullptr;
  }
  const Metadata& metadata() const override { return model_.metadata(); }
  absl::string_view format() const override { return "gguf"; }
  void Release(absl::Span<const uint8_t> /*range*/) const override {}

 private:
  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    const TensorMeta& meta = planned_.meta;
    std::vector<uint8_t> bytes;
    if (solved_ != nullptr) {
      RETURN_IF_ERROR(solved_->AppendRows(first_row, n_rows, &bytes));
    } else {
      RETURN_IF_ERROR(
          narrow::ReadRows(model_, *planned_.source, first_row, n_rows, out));
      bytes.resize(static_cast<size_t>(n_rows * meta.row_bytes()));
      codec_.EncodeRows(out, n_rows, meta.n_cols(), planned_.importance,
                        bytes.data());
    }
    codec_.Decode(bytes.data(), n_rows * (meta.n_cols() / codec_.block), out);
    return absl::OkStatus();
  }

  const Checkpoint& model_;
  const PlannedTensor& planned_;
  const EncodedRows* const solved_;
  const BlockCodec& codec_;
  TensorView view_;
};

}  // namespace

const PlannedTensor* FindEmbedding(const Plan& plan) {
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.source == nullptr || tensor.source->meta.name != kEmbedding) {
      continue;
    }
    const QuantType type = tensor.meta.type;
    const bool changes = type != tensor.source->stored &&
                         type != QuantType::kF32 && !tensor.has_scale() &&
                         tensor.meta.shape == tensor.source->meta.shape &&
                         FindCodec(type) != nullptr;
    return changes ? &tensor : nullptr;
  }
  return nullptr;
}

std::unique_ptr<Checkpoint> WithStoredEmbedding(const Checkpoint& model,
                                                const PlannedTensor* planned,
                                                const EncodedRows* solved) {
  return planned == nullptr
             ? nullptr
             : Checkpoint::WithRows(model, std::make_unique<StoredSource>(
                                               &model, planned, solved));
}

}  // namespace narrow
