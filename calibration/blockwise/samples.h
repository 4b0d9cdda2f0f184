// Token windows to calibrate on.
//
//   CalibrationSamples samples;      // from calibration/text/sample_text.h
//   samples.n_samples(); samples.ids(i); samples.counts(i);
//
// Plain values.

#ifndef NARROW_CALIBRATION_BLOCKWISE_SAMPLES_H_
#define NARROW_CALIBRATION_BLOCKWISE_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct CalibrationSamples {
  int64_t sample_tokens = 0;
  // [n_samples, sample_tokens]; samples that are shorter are padded at the
  // end, where nothing that counts can see it.
  std::vector<int32_t> ids;
  // The same shape: 1 for tokens that count, 0 for padding and for what a
  // mask leaves out (prompts, when only answers count).
  std::vector<uint8_t> counts;
  // Where the samples came from, for reports: the files' names without their
  // folders, and HashSamples.
  std::vector<std::string> texts;
  uint64_t hash = 0;

  int64_t n_samples() const {
    return sample_tokens == 0
               ? 0
               : static_cast<int64_t>(ids.size()) / sample_tokens;
  }
};

// What `hash` is: of sample_tokens, ids and counts; the same on every machine.
uint64_t HashSamples(const CalibrationSamples& samples);

// InvalidArgument: no sample, parts of one, no token that counts, or ids
// outside a vocabulary of n_vocab, which is that of the model at `model_path`.
absl::Status CheckSamples(const CalibrationSamples& samples, int64_t n_vocab,
                          absl::string_view model_path);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_SAMPLES_H_
