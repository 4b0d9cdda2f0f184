#include "calibration/blockwise/samples.h"

#include "absl/strings/string_view.h"
#include "calibration/blockwise/checksum.h"

namespace narrow {

uint64_t HashSamples(const CalibrationSamples& samples) {
  Checksum sum;
  sum.Add(samples.sample_tokens);
  sum.Add(samples.ids.data(), samples.ids.size() * sizeof(int32_t));
  sum.Add(samples.counts.data(), samples.counts.size());
  return sum.value();
}

}  // namespace narrow
