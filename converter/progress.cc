#include "converter/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace narrow {
namespace {

constexpr double kFirstPrintSeconds = 1.0;
constexpr double kTerminalSeconds = 0.1;  // between repaints of the bar
constexpr double kPlainSeconds = 10.0;    // between plain lines
constexpr int kBarWidth = 28;

double Seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

std::string FormatBytes(int64_t n_bytes) {
  static constexpr const char* kPrefixes[] = {"KiB", "MiB", "GiB", "TiB"};
  if (n_bytes < 1024) {
    return absl::StrCat(n_bytes, " B");
  }
  double value = static_cast<double>(n_bytes) / 1024;
  size_t i = 0;
  while (value >= 1024 && i + 1 < std::size(kPrefixes)) {
    value /= 1024;
    ++i;
  }
  return absl::StrFormat("%.2f %s", value, kPrefixes[i]);
}

std::string FormatDuration(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  }
  return absl::StrFormat("%d:%02d", s / 60, s % 60);
}

Progress::Progress(absl::string_view label, absl::string_view unit,
                   int64_t total, bool quiet)
    : label_(label),
      unit_(unit),
      total_(std::max<int64_t>(total, 1)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      printed_(start_) {}

Progress::~Progress() { Finish(); }

void Progress::Add(int64_t n) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ += n;
  MaybePrint(/*last=*/false);
}

void Progress::Set(int64_t done) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ = done;
  MaybePrint(/*last=*/false);
}

void Progress::Finish() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_) {
    finished_ = true;
    MaybePrint(/*last=*/true);
  }
}

void Progress::MaybePrint(bool last) {
  if (quiet_) {
    return;
  }
  const Clock::time_point now = Clock::now();
  const double elapsed = Seconds(now - start_);
  const double pause = terminal_ ? kTerminalSeconds : kPlainSeconds;
  if (last) {
    if (!ever_printed_ || (!terminal_ && printed_done_ == done_)) {
      return;
    }
  } else if (elapsed < kFirstPrintSeconds ||
             (ever_printed_ && Seconds(now - printed_) < pause)) {
    return;
  }
  const std::string line = Line(elapsed);
  if (terminal_) {
    std::fprintf(stderr, "\r%s\033[K%s", line.c_str(), last ? "\n" : "");
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
  printed_ = now;
  printed_done_ = done_;
  ever_printed_ = true;
}

std::string Progress::Line(double seconds) const {
  const double share =
      std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const double rate = static_cast<double>(done_) / std::max(seconds, 1e-9);
  std::string line = absl::StrCat(label_, " ");
  if (terminal_) {
    const int filled = static_cast<int>(share * kBarWidth);
    absl::StrAppend(&line, "[", std::string(filled, '='),
                    std::string(kBarWidth - filled, ' '), "] ");
  }
  const bool bytes = unit_ == "B";
  absl::StrAppend(&line, absl::StrFormat("%3.0f%% ", share * 100));
  if (bytes) {
    absl::StrAppend(&line, FormatBytes(done_), " of ", FormatBytes(total_),
                    ", ", FormatBytes(static_cast<int64_t>(rate)), "/s");
  } else {
    absl::StrAppend(&line, done_, " of ", total_, " ", unit_,
                    absl::StrFormat(", %.1f/s", rate));
  }
  if (done_ > 0 && done_ < total_) {
    const double left = static_cast<double>(total_ - done_) / rate;
    absl::StrAppend(&line, ", ", FormatDuration(left), " left");
  } else {
    absl::StrAppend(&line, ", ", FormatDuration(seconds));
  }
  return line;
}

}  // namespace narrow
