#include "calibration/blockwise/samples.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/hash/checksum.h"

namespace narrow {

uint64_t HashSamples(const CalibrationSamples& samples) {
  Checksum sum;
  sum.Add(samples.sample_tokens);
  sum.Add(samples.ids.data(), samples.ids.size() * sizeof(int32_t));
  sum.Add(samples.counts.data(), samples.counts.size());
  return sum.value();
}

absl::Status CheckSamples(const CalibrationSamples& samples, int64_t n_vocab,
                          absl::string_view model_path) {
  const int64_t width = samples.sample_tokens;
  if (width < 1 || samples.ids.empty()) {
    return absl::InvalidArgumentError("there is no calibration sample");
  }
  if (static_cast<int64_t>(samples.ids.size()) % width != 0 ||
      samples.counts.size() != samples.ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        samples.ids.size(), " ids and ", samples.counts.size(),
        " counts are no whole calibration samples of ", width, " tokens"));
  }
  if (std::all_of(samples.counts.begin(), samples.counts.end(),
                  [](uint8_t count) { return count == 0; })) {
    return absl::InvalidArgumentError(
        absl::StrCat("no token of the ", samples.n_samples(),
                     " calibration samples counts: all are padding or masked"));
  }
  for (size_t i = 0; i < samples.ids.size(); ++i) {
    if (samples.ids[i] < 0 || samples.ids[i] >= n_vocab) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", static_cast<int64_t>(i) % width, " of calibration sample ",
          static_cast<int64_t>(i) / width, " is number ", samples.ids[i],
          ", but the model's vocabulary has ", n_vocab,
          ": the samples were made with another tokenizer; reading ",
          model_path));
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
