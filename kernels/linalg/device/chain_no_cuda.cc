// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/linalg/device/chain_launch.h"

namespace narrow {
namespace chain {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace

absl::Status Launch(const Product<float>& /*product*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const Product<double>& /*product*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const GramTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

}  // namespace chain
}  // namespace narrow
