// Sees the gradients at the outputs of linear layers.

#ifndef NARROW_CALIBRATION_BACKWARD_GRADIENT_OBSERVER_H_
#define NARROW_CALIBRATION_BACKWARD_GRADIENT_OBSERVER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/device.h"

namespace narrow {

// dL/dy at y = W x + b, one row a token. Borrows, until the call returns.
struct LayerGradient {
  absl::string_view name;  // the tensor's GGUF name
  int expert = -1;         // -1: a dense layer
  // [n_rows, n_cols], row r at rows + r * stride. A fused tensor's columns are
  // those of all its parts.
  const float* rows = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t stride = 0;
  // Row r is of token tokens[r], or of first_token + r where `tokens` is
  // empty: as in LayerInput (calibration/model_runner.h), of the hidden
  // states that were given.
  int64_t first_token = 0;
  // Norms of the rows that the layer multiplied, [n_rows]; nullptr where they
  // come out of a norm and are about the same.
  const float* input_norms = nullptr;
  absl::Span<const int64_t> tokens;

  int64_t token(int64_t row) const {
    return tokens.empty() ? first_token + row
                          : tokens[static_cast<size_t>(row)];
  }
};

// A LayerGradient whose rows and input norms lie on a device.
struct GradientOnDevice {
  LayerGradient gradient;
  const Device* device = nullptr;
  // Where the rows' work is queued: they are there for what is put into it
  // during the call.
  DeviceStream* stream = nullptr;
};

class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  // For rows that lie on a device: true if they are taken there. Otherwise
  // OnGradient follows.
  virtual absl::StatusOr<bool> OnDevice(const GradientOnDevice& /*gradient*/) {
    return false;
  }
  // Called in a fixed order from one thread, while the pool is idle; a
  // tensor's rows come in order of tokens.
  virtual absl::Status OnGradient(const LayerGradient& gradient) = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_GRADIENT_OBSERVER_H_
