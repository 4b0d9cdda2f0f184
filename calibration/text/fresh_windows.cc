// Tested by compensated_files_test.sh and allocation_files_test.sh.

#include "calibration/text/fresh_windows.h"

#include <set>

#include "absl/status/status.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

std::vector<int32_t> Window(const CalibrationSamples& samples, int64_t i) {
  const int64_t n = samples.sample_tokens;
  return std::vector<int32_t>(samples.ids.begin() + i * n,
                              samples.ids.begin() + (i + 1) * n);
}

}  // namespace

absl::StatusOr<CalibrationSamples> SampleFreshTexts(
    const Checkpoint& model, const std::vector<std::string>& paths,
    const SampleOptions& options, const CalibrationSamples& used,
    int64_t n_windows) {
  SampleOptions wanted = options;
  wanted.n_samples = used.n_samples() + n_windows;
  auto more = SampleTexts(model, paths, wanted);
  if (absl::IsInvalidArgument(more.status())) {  // too short
    wanted.n_samples = 0;
    more = SampleTexts(model, paths, wanted);
  }
  RETURN_IF_ERROR(more.status());
  std::set<std::vector<int32_t>> known;
  for (int64_t i = 0; i < used.n_samples(); ++i) {
    known.insert(Window(used, i));
  }
  CalibrationSamples fresh;
  fresh.sample_tokens = used.sample_tokens;
  fresh.texts = used.texts;
  const int64_t n = more->sample_tokens;
  for (int64_t i = 0; i < more->n_samples() && fresh.n_samples() < n_windows;
       ++i) {
    const std::vector<int32_t> ids = Window(*more, i);
    if (known.count(ids) == 0) {
      fresh.ids.insert(fresh.ids.end(), ids.begin(), ids.end());
      fresh.counts.insert(fresh.counts.end(), more->counts.begin() + i * n,
                          more->counts.begin() + (i + 1) * n);
    }
  }
  fresh.hash = HashSamples(fresh);
  return fresh;
}

}  // namespace narrow
