// Starts tasks on a card.

#ifndef NARROW_KERNELS_QUANT_DEVICE_ENCODE_LAUNCH_H_
#define NARROW_KERNELS_QUANT_DEVICE_ENCODE_LAUNCH_H_

#include "absl/status/status.h"
#include "formats/quant_type.h"
#include "kernels/quant/team/encode_task.h"

namespace narrow {
namespace team {

// In the stream, a cudaStream_t; the task's pointers are the card's. Internal
// if the launch is refused, Unimplemented in a build without CUDA. REQUIRES:
// HasTeam(type).
absl::Status LaunchEncode(QuantType type, const EncodeTask& task, void* stream);

// The same for blocks to weights.
absl::Status LaunchDecode(QuantType type, const DecodeTask& task, void* stream);

// Of one group of teams.inc; NotFound for types of others.
absl::Status LaunchSmall(QuantType type, const EncodeTask& task, void* stream);
absl::Status LaunchK(QuantType type, const EncodeTask& task, void* stream);
absl::Status LaunchLattice(QuantType type, const EncodeTask& task,
                           void* stream);

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_ENCODE_LAUNCH_H_
