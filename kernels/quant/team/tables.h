// The tables that a team of a lattice type reads, as they lie in the host's
// memory: for the emulation, and to be copied to a card.

#ifndef NARROW_KERNELS_QUANT_TEAM_TABLES_H_
#define NARROW_KERNELS_QUANT_TEAM_TABLES_H_

#include <cstdint>

#include "formats/quant_type.h"
#include "kernels/quant/team/encode_task.h"

namespace narrow {
namespace team {

// Sizes in bytes of what `tables` points to; 0 where that is nullptr.
struct HostTables {
  LatticeTables tables;
  int64_t levels_bytes = 0;
  int64_t entries_bytes = 0;
  int64_t lists_bytes = 0;
  int64_t near_entries_bytes = 0;
  int64_t whole_entries_bytes = 0;
  int64_t near_words_bytes = 0;
  int64_t candidates_bytes = 0;
  int64_t candidate_words_bytes = 0;
};

// Empty for types without a lattice. What it points to lives as long as the
// program.
HostTables TablesOf(QuantType type);

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_TABLES_H_
