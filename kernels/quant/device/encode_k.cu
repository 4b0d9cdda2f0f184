// The k-quants on a card.

#include "kernels/quant/device/encode_cuda.cuh"
// (Before any header of lanes.)
#include "kernels/quant/device/encode_launch.h"

namespace narrow {
namespace team {

absl::Status LaunchK(QuantType type, const EncodeTask& task, void* stream) {
  switch (type) {
#define NARROW_TEAM_K(name, ...) \
  case QuantType::k##name:       \
    return LaunchType<__VA_ARGS__>(task, static_cast<cudaStream_t>(stream));
#define NARROW_TEAM_Small(name, ...)
#define NARROW_TEAM_Lattice(name, ...)
#define NARROW_TEAM(group, name, ...) NARROW_TEAM_##group(name, __VA_ARGS__)
#include "kernels/quant/team/teams.inc"
    default:
      return absl::NotFoundError("no type of this group");
  }
}

}  // namespace team
}  // namespace narrow
