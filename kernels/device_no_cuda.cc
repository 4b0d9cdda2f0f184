// In a build without CUDA.

#include "kernels/device_backend.h"

namespace narrow {

absl::StatusOr<FoundDevice> FindCuda() {
  return absl::UnimplementedError(
      "this narrow was built without CUDA; build it with `bazel build -c opt "
      "--define=cuda=1 //converter:narrow` where nvcc is");
}

}  // namespace narrow
