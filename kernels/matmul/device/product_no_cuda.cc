// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/matmul/device/product_launch.h"

namespace narrow {
namespace tile {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace

absl::Status LaunchProduct(const Product& /*product*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchTensorProduct(const tensor_tile::Task& /*task*/,
                                 void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchBeginBias(const Product& /*product*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchSplit(const float* /*values*/, int64_t /*n*/, int /*part*/,
                         uint16_t* /*out*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchEach(const StackTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchEach(const RoundTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchEach(const PanelTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

absl::Status LaunchAddWide(const float* /*values*/, int64_t /*n*/,
                           double* /*sums*/, void* /*stream*/) {
  return NoCuda();
}

}  // namespace tile
}  // namespace narrow
