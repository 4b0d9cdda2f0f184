// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/quant/device/encode_launch.h"

namespace narrow {
namespace team {

absl::Status LaunchEncode(QuantType /*type*/, const EncodeTask& /*task*/,
                          void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

absl::Status LaunchDecode(QuantType /*type*/, const DecodeTask& /*task*/,
                          void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace team
}  // namespace narrow
