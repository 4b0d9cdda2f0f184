// What kernels that encode and decode are told: plain data, pointers into the
// device's memory.

#ifndef NARROW_KERNELS_QUANT_TEAM_ENCODE_TASK_H_
#define NARROW_KERNELS_QUANT_TEAM_ENCODE_TASK_H_

#include <cstdint>

namespace narrow {
namespace team {

// Of one lattice type (lattice/grid_index.h, iq2/near_lists.h); all nullptr
// for other types.
struct LatticeTables {
  const uint8_t* levels = nullptr;   // of each point
  const int32_t* entries = nullptr;  // by number: point, or ~(place in lists)
  const uint16_t* lists = nullptr;   // points; a list's length comes first
  // IQ2's: by number, a word of levels, or a list of those that may win, or of
  // all; words of all lists. IQ1's: three numbers each (iq1/near_lists.h, an
  // Entry) in near_entries.
  const int32_t* near_entries = nullptr;
  const int32_t* whole_entries = nullptr;
  const uint16_t* near_words = nullptr;
  // IQ3's: what may be nearest, by number of levels (iq3/candidates.h).
  const uint32_t* candidates = nullptr;
  const uint32_t* candidate_words = nullptr;
};

// Rows of weights to blocks.
struct EncodeTask {
  const void* weights = nullptr;  // [n_rows, n_cols], of 16-byte alignment
  bool is_bf16 = false;           // else float32
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  const float* importance = nullptr;  // [n_cols], aligned likewise
  // Room for [n_rows], for types that weigh by their row's mean square.
  float* mean_squares = nullptr;
  LatticeTables tables;
  uint8_t* bytes = nullptr;
  // A byte a block, set to 1 where the host must encode it; their number.
  uint8_t* failed = nullptr;
  uint32_t* n_failed = nullptr;
};

// Blocks to weights.
struct DecodeTask {
  const uint8_t* bytes = nullptr;
  int64_t n_blocks = 0;
  LatticeTables tables;
  // One of these, [n_blocks * block].
  float* floats = nullptr;
  uint16_t* halves = nullptr;  // rounded to bfloat16
};

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_ENCODE_TASK_H_
