// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/rows/device/device_pairs.h"

namespace narrow {
namespace pair_threads {

absl::Status LaunchBegin(int64_t /*n_rows*/, PairScore* /*scores*/,
                         void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

absl::Status Launch(const PairTask& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace pair_threads
}  // namespace narrow
