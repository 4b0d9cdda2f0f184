// Which grid points can be the nearest to four weights, by their levels: the
// lists of lattice/grid_index.h without the points that never win.
//
//   const Candidates& candidates = CandidatesOf(IQ3_XXS());
//   const uint32_t entry = candidates.entries[number];
//   const uint32_t* words = candidates.words + (entry & kFirstMask);
//   const int n_words = (entry >> kCountShift & kCountMask) + 1;
//
// The nearest point of a list minimises a sum of metric * (scale * (2 * level
// + 1) - x)^2. Let b be further than a, or as far, in every coordinate,
// wherever the x lie that have the list's levels as their nearest. The sum is
// then no less for b, whatever the metric: rounding is monotone. If a stands
// before b as well, then b is never chosen, and the list does without it.
//
// That leaves x next to the border between two levels, for which rounding may
// have found the other one. Entries from kNumbers on are for those: lists in
// full. "Next" is kBorder levels, far more than rounding errors and far less
// than what matters to speed.
//
// Made on first use, in 3 milliseconds for IQ3_XXS and 7 for IQ3_S with the
// index; lives as long as the program; safe from any thread. For the sources of
// simd_library.

#ifndef NARROW_KERNELS_QUANT_IQ3_CANDIDATES_H_
#define NARROW_KERNELS_QUANT_IQ3_CANDIDATES_H_

#include <cstdint>

#include "kernels/quant/iq3/layout.h"

namespace narrow {
namespace iq3 {

// Level vectors; a number has level i in bits 3 * i … 3 * i + 2.
inline constexpr int kNumbers = 4096;
inline constexpr float kBorder = 0x1p-14f;

// An entry: the place of the first candidate's word, how many there are less
// one, and a bit for each of the first eight.
inline constexpr uint32_t kFirstMask = 0xffff;
inline constexpr int kCountShift = 16;
inline constexpr uint32_t kCountMask = 0xff;
// Set in entries of more than eight candidates.
inline constexpr uint32_t kBeyondEight = 0xf8u << kCountShift;
inline constexpr int kBitsShift = 24;
// A candidate has level i in bits 8 * i … 8 * i + 2.
// The only candidate of levels that are a point themselves has this, too.
inline constexpr uint32_t kInGrid = 0x80;
inline constexpr int kMostWords = 48;
// Words that may be read beyond the last.
inline constexpr int kWordsRoom = 16;

struct Candidates {
  const uint32_t* entries;  // [2 * kNumbers]
  const uint32_t* words;
  const int32_t* points;  // [kNumbers]; of levels that are no point: negative
};

const Candidates& CandidatesOf(IQ3_XXS);
const Candidates& CandidatesOf(IQ3_S);

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_CANDIDATES_H_
