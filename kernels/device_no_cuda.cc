// In a build without CUDA.

#include "kernels/device_backend.h"

namespace narrow {

absl::StatusOr<FoundDevice> FindCuda() {
  return absl::UnimplementedError(
      "this build has no CUDA; --define=cuda=1 makes one that has");
}

}  // namespace narrow
