#include "kernels/device_bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int kRepeats = 5;

}  // namespace

void Bench::Report(const std::string& name, double seconds, double rate,
                   const char* unit, double limit) {
  last_seconds_ = seconds;
  last_rate_ = rate;
  last_fraction_ = limit > 0 ? rate / limit : 0;
  std::printf("%-52s %9.1f %s", name.c_str(), rate, unit);
  if (limit > 0) {
    std::printf("  %5.1f %%", 100 * last_fraction_);
  }
  std::printf("\n");
  std::fflush(stdout);
}

std::string Bench::LastBound(const std::string& of) const {
  return last_fraction_ > 0
             ? absl::StrFormat("%.1f %% of %s", 100 * last_fraction_, of)
             : absl::StrCat(of, " is not known");
}

void Bench::Sum(const std::string& name, double rate, const char* unit,
                double limit) {
  Report(name, 0, rate, unit, limit);
}

absl::StatusOr<DeviceBuffer> Bench::Allocate(int64_t n_bytes) const {
  return device_.Allocate(static_cast<size_t>(n_bytes), "bench");
}

// Of a multiprocessor in a clock, by NVIDIA's tables of throughput for
// compute capabilities 8.0, 8.6 and 8.9, 9.0, and 10.0.
double PeakOperations(const DeviceTraits& traits, Units units) {
  struct Row {
    int major;
    bool is_first;  // minor 0
    double of_clock[3];
  };
  constexpr Row kRows[] = {{8, true, {2048, 128, 64}},
                           {8, false, {1024, 256, 4}},
                           {9, true, {4096, 256, 128}},
                           {10, true, {8192, 256, 128}}};
  for (const Row& row : kRows) {
    if (traits.compute_major == row.major &&
        (traits.compute_minor == 0) == row.is_first) {
      return row.of_clock[static_cast<int>(units)] * traits.n_multiprocessors *
             traits.clock_hz;
    }
  }
  return 0;
}

absl::StatusOr<std::unique_ptr<Bench>> Bench::New(const Device& device,
                                                  int64_t n_floats,
                                                  BenchSummary* summary) {
  std::unique_ptr<Bench> bench(new Bench(device, summary));
  bench->n_floats_ = n_floats;
  ASSIGN_OR_RETURN(bench->stream_, device.NewStream());
  for (DeviceBuffer* buffer : {&bench->in_, &bench->out_}) {
    ASSIGN_OR_RETURN(
        *buffer, device.Allocate(static_cast<size_t>(4 * n_floats), "bench"));
  }
  RETURN_IF_ERROR(bench->Randomize());
  const size_t n_bytes = bench->in_.n_bytes();
  const Work copy = [&] {
    return bench->stream_.Copy(bench->in_.data(), n_bytes, bench->out_.data());
  };
  ASSIGN_OR_RETURN(const double seconds, bench->MedianSeconds(copy));
  bench->bytes_a_second_ = 2 * static_cast<double>(n_bytes) / seconds;
  bench->Report("copy within the device, read and written", seconds,
                bench->bytes_a_second_ * 1e-9, "GB/s", 0);
  return bench;
}

absl::Status Bench::Randomize() {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  // Both halves of a float are an ordinary bfloat16, so that the float is an
  // ordinary number, too.
  std::vector<uint16_t> numbers(
      static_cast<size_t>(std::min<int64_t>(2 * n_floats_, 1 << 21)));
  for (uint16_t& number : numbers) {
    number = Bf16FromFloat(normal(generator));
  }
  const size_t piece = 2 * numbers.size();
  for (size_t at = 0; at < in_.n_bytes(); at += piece) {
    RETURN_IF_ERROR(stream_.Copy(numbers.data(),
                                 std::min(piece, in_.n_bytes() - at),
                                 in_.as<uint8_t>() + at));
  }
  return stream_.Synchronize("bench");
}

absl::StatusOr<double> Bench::MedianSeconds(const Work& work) {
  std::vector<double> seconds;
  // On the processor they are tests.
  const int n_warm = device_.kind() == DeviceKind::kCuda ? 1 : 0;
  const int n_repeats = n_warm > 0 ? kRepeats : 1;
  for (int i = 0; i < n_warm + n_repeats; ++i) {
    ASSIGN_OR_RETURN(DeviceEvent begin, device_.NewEvent());
    ASSIGN_OR_RETURN(DeviceEvent end, device_.NewEvent());
    RETURN_IF_ERROR(stream_.Record(&begin));
    RETURN_IF_ERROR(work());
    RETURN_IF_ERROR(stream_.Record(&end));
    RETURN_IF_ERROR(stream_.Synchronize("bench"));
    ASSIGN_OR_RETURN(const double its_seconds, begin.SecondsTo(end));
    if (i >= n_warm) {
      seconds.push_back(std::max(its_seconds, 1e-9));
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

absl::Status Bench::Operations(const std::string& name, double n,
                               const Work& work, Units units) {
  ASSIGN_OR_RETURN(const double seconds, MedianSeconds(work));
  Report(name, seconds, n / seconds * 1e-12, "TFLOP/s",
         PeakOperations(device_.traits(), units) * 1e-12);
  return absl::OkStatus();
}

absl::Status Bench::Gain(const std::string& name, int64_t n, const Work& one,
                         const Work& together) {
  ASSIGN_OR_RETURN(const double alone, MedianSeconds(one));
  ASSIGN_OR_RETURN(const double seconds, MedianSeconds(together));
  Report(name, seconds, static_cast<double>(n) * alone / seconds,
         "times as fast", 0);
  return absl::OkStatus();
}

absl::Status Bench::Bytes(const std::string& name, double n, const Work& work,
                          double moved) {
  ASSIGN_OR_RETURN(const double seconds, MedianSeconds(work));
  Report(name, seconds, n / seconds * 1e-9, "GB/s",
         bytes_a_second_ * (moved > 0 ? n / moved : 1) * 1e-9);
  return absl::OkStatus();
}

}  // namespace narrow
