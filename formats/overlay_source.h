// A source some of whose matrices are replaced while a model runs: blocks
// that have been quantized show the weights that the file will hold.
//
//   auto overlay = std::make_unique<OverlaySource>(std::move(inner));
//   OverlaySource* slots = overlay.get();
//   ... Checkpoint::Open with options.wrap_source giving `overlay` ...
//   slots->Replace("model.layers.0.mlp.up_proj.weight", values);
//   slots->Restore("model.layers.0.mlp.up_proj.weight");
//
// Replace, Restore and ShowOriginals belong to one thread while nobody reads.

#ifndef NARROW_FORMATS_OVERLAY_SOURCE_H_
#define NARROW_FORMATS_OVERLAY_SOURCE_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "formats/tensor.h"

namespace narrow {

class OverlaySource : public TensorSource {
 public:
  // Tensors of two and three dimensions can be replaced; they appear as kF32
  // with `rows` from the beginning, and read as what the inner source has.
  // `replaceable` chooses them by name; the others are the inner source's.
  OverlaySource(std::unique_ptr<TensorSource> inner,
                const std::vector<std::string>& replaceable);
  ~OverlaySource() override;

  // Shows `values`, [n_rows, n_cols], from now on. NotFound for a name that
  // is not replaceable; InvalidArgument if the size differs.
  absl::Status Replace(absl::string_view name, std::vector<float> values);
  // Shows the inner source's values again, and frees the others.
  void Restore(absl::string_view name);
  // While `on`, all tensors read as the inner source has them; replaced ones
  // are kept (calibration runs the original model beside the quantized one).
  void ShowOriginals(bool on) { show_originals_ = on; }

  absl::Span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* Find(absl::string_view name) const override;
  const Metadata& metadata() const override { return inner_->metadata(); }
  absl::string_view format() const override { return inner_->format(); }
  void Release(absl::Span<const uint8_t> range) const override {
    inner_->Release(range);
  }

 private:
  class Slot;

  std::unique_ptr<TensorSource> inner_;
  bool show_originals_ = false;  // slots look at it
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::unordered_map<std::string, std::unique_ptr<Slot>> slots_;
};

// While it lives, the overlay (may be null) shows the original weights, if
// `on`.
class OriginalsShown {
 public:
  OriginalsShown(OverlaySource* overlay, bool on)
      : overlay_(on ? overlay : nullptr) {
    if (overlay_ != nullptr) {
      overlay_->ShowOriginals(true);
    }
  }
  ~OriginalsShown() {
    if (overlay_ != nullptr) {
      overlay_->ShowOriginals(false);
    }
  }
  OriginalsShown(const OriginalsShown&) = delete;
  OriginalsShown& operator=(const OriginalsShown&) = delete;

 private:
  OverlaySource* const overlay_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_OVERLAY_SOURCE_H_
