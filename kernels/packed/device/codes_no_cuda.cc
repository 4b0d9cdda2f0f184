// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/packed/device/device_codes.h"

namespace narrow {

absl::Status LaunchCodes(const CodesTask& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace narrow
