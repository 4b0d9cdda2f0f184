// Tested by: block_calibrator_test.

#include "calibration/blockwise/states_print.h"

#include <string>
#include <vector>

#include "calibration/weights/weights.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {

absl::StatusOr<uint64_t> PrintOfStates(const Checkpoint& model,
                                       const CalibrationSamples& samples,
                                       bool original, Precision precision) {
  Checksum print;
  print.Add(static_cast<int64_t>(HashSamples(samples)));
  print.Add(original ? 1 : 0);
  print.Add(static_cast<int64_t>(precision));
  const std::string& arch = model.config().arch;
  print.Add(arch.data(), arch.size());
  for (const CheckpointTensor& tensor : model.tensors()) {
    print.Add(tensor.meta.name.data(), tensor.meta.name.size());
    print.Add(static_cast<int64_t>(tensor.stored));
    for (const int64_t size : tensor.meta.shape) {
      print.Add(size);
    }
    if (FindCodec(tensor.stored) == nullptr) {
      continue;  // the model does not run with it
    }
    const int64_t n_rows = tensor.meta.n_rows();
    std::vector<float> row(static_cast<size_t>(tensor.meta.n_cols()));
    for (const int64_t r : {int64_t{0}, n_rows / 2, n_rows - 1}) {
      if (r >= 0 && r < n_rows) {
        RETURN_IF_ERROR(ReadRows(model, tensor, r, 1, row.data()));
        print.Add(row.data(), row.size() * sizeof(float));
      }
    }
  }
  return print.value();
}

}  // namespace narrow
