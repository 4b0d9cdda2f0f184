// The teams' code on the processor, thread after thread: what a card would
// do, where there is none. For tests, and for the device that is the CPU.

#ifndef NARROW_KERNELS_QUANT_TEAM_EMULATE_H_
#define NARROW_KERNELS_QUANT_TEAM_EMULATE_H_

#include "formats/quant_type.h"
#include "kernels/quant/team/encode_task.h"

namespace narrow {
namespace team {

// Whether teams.inc has the type.
bool HasTeam(QuantType type);

// Runs the task, whose pointers are the host's. REQUIRES: HasTeam(type).
void Emulate(QuantType type, const EncodeTask& task);
void Emulate(QuantType type, const DecodeTask& task);

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_EMULATE_H_
