#include "absl/status/status.h"
#include "kernels/quant/device/encode_launch.h"

namespace narrow {
namespace team {

absl::Status LaunchEncode(QuantType type, const EncodeTask& task,
                          void* stream) {
  for (const auto launch : {&LaunchSmall, &LaunchK, &LaunchLattice}) {
    const absl::Status status = launch(type, task, stream);
    if (!absl::IsNotFound(status)) {
      return status;
    }
  }
  return absl::NotFoundError("no kernel encodes this type");
}

}  // namespace team
}  // namespace narrow
