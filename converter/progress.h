// Progress on standard error: a bar with rate and time left on a terminal,
// plain lines elsewhere.
//
//   Progress progress("converting", "B", total_bytes);
//   progress.Add(n);          // from any thread
//   progress.Finish();
//
// Nothing is printed for work that ends within a second, nor when quiet.

#ifndef NARROW_CONVERTER_PROGRESS_H_
#define NARROW_CONVERTER_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

class Progress {
 public:
  // `unit` is what is counted: "B" is shown with binary prefixes, others as
  // plain numbers ("windows").
  Progress(absl::string_view label, absl::string_view unit, int64_t total,
           bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Add(int64_t n);
  // Sets the count; for callers that know the total done.
  void Set(int64_t done);
  // Prints the last state and ends the line.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;

  void MaybePrint(bool last);
  std::string Line(double seconds) const;

  const std::string label_;
  const std::string unit_;
  const int64_t total_;
  const bool quiet_;
  const bool terminal_;
  const Clock::time_point start_;
  std::mutex mutex_;
  int64_t done_ = 0;
  Clock::time_point printed_;
  int64_t printed_done_ = 0;
  bool ever_printed_ = false;
  bool finished_ = false;
};

// "1.50 GiB", "512 B".
std::string FormatBytes(int64_t n_bytes);
// "1:02:03", "0:07".
std::string FormatDuration(double seconds);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROGRESS_H_
