// Windows of tokens drawn evenly from the vocabulary, put among those of a
// text.
//
//   ... sample n_windows - CoverWindows(n_windows, every) of the text ...
//   const int64_t n_cover =
//       DrawnWindows(n_windows, every, samples.n_samples(), sample_tokens);
//   RETURN_IF_ERROR(AddCoverWindows(model, n_cover, every, seed, &samples));
//
// What a solver is free to do is what the calibration text does not show: it
// fits second moments of inputs, and a text shows few of the tokens, and those
// in its own contexts. On another text the inputs lie where no moment was
// small for a reason. A few windows in which any token follows any other put a
// floor under all of them that has the scales of real inputs, which a multiple
// of the identity has not. (Measured: docs/measurements.md, section 10.)
//
// The same tokens on every machine.

#ifndef NARROW_CALIBRATION_TEXT_COVER_WINDOWS_H_
#define NARROW_CALIBRATION_TEXT_COVER_WINDOWS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "calibration/blockwise/samples.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// Of n_windows in all; every < 1: none.
int64_t CoverWindows(int64_t n_windows, int64_t every);

// Beside n_text windows of the text, where it has no more or no more were
// asked for: those, what is missing of n_windows, and what is missing of as
// many tokens as second moments need. Statistics of a short text alone make
// files that are worse than plain rounding wherever they are used; its windows
// among drawn ones do not. every < 1: none. REQUIRES: sample_tokens > 0.
int64_t DrawnWindows(int64_t n_windows, int64_t every, int64_t n_text,
                     int64_t sample_tokens);

// Puts n_cover windows among the samples: the first of every so many, so that
// the last of any number of them is of the text as long as that number is
// `every` or a multiple of it. All their tokens count. They begin with the
// token that all samples begin with, if there is one (BOS), and have no
// control, unknown, unused and byte tokens. The samples' hash is made anew.
// InvalidArgument: a vocabulary without any other token. REQUIRES: every > 0,
// samples.
absl::Status AddCoverWindows(const Checkpoint& model, int64_t n_cover,
                             int64_t every, uint64_t seed,
                             CalibrationSamples* samples);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_COVER_WINDOWS_H_
