#include "kernels/packed/device/device_codes.h"

namespace narrow {

absl::Status RunCodes(const CodesTask& task, DeviceStream* stream) {
  const int64_t n = task.n_rows * task.n_cols;
  if (stream->kind() == DeviceKind::kCuda) {
    return n == 0 ? absl::OkStatus() : LaunchCodes(task, stream->handle());
  }
  for (int64_t i = 0; i < n; ++i) {
    DecodeCode(task, i);
  }
  return absl::OkStatus();
}

}  // namespace narrow
