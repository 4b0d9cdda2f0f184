// Times work on a device and prints a line for it, beside what the device
// allows.
//
//   ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats));
//   RETURN_IF_ERROR(bench->Operations("product", 2.0 * m * n * k, work));
//   RETURN_IF_ERROR(bench->Bytes("norm", 6.0 * n, work));
//   bench->summary()->AtMost("norm", 1, bench->last_seconds(), "s", ...);

#ifndef NARROW_KERNELS_DEVICE_BENCH_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_BENCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/device_bench/summary.h"

namespace narrow {

// What multiplies: tensor cores, in bfloat16, or the plain units.
enum class Units { kTensorBf16, kFloat32, kFloat64 };

// Operations a second of a card's products, a multiplication and an addition
// being two, at its highest clock; 0: unknown.
double PeakOperations(const DeviceTraits& traits,
                      Units units = Units::kTensorBf16);

class Bench {
 public:
  using Work = std::function<absl::Status()>;

  // With `n_floats` random numbers on the device, finite also as twice as many
  // bfloat16, and room for as many. Prints the rate of the memory. The summary
  // must outlive it.
  static absl::StatusOr<std::unique_ptr<Bench>> New(const Device& device,
                                                    int64_t n_floats,
                                                    BenchSummary* summary);

  const Device& device() const { return device_; }
  DeviceStream* stream() { return &stream_; }
  double bytes_a_second() const { return bytes_a_second_; }
  absl::StatusOr<DeviceBuffer> Allocate(int64_t n_bytes) const;
  int64_t n_floats() const { return n_floats_; }
  float* in() const { return in_.as<float>(); }
  uint16_t* in_halves() const { return in_.as<uint16_t>(); }
  float* out() const { return out_.as<float>(); }
  uint16_t* out_halves() const { return out_.as<uint16_t>(); }

  // Prints `n` operations or bytes a second, and their part of the peak or of
  // the memory's rate, which was measured: the median of a few runs.
  absl::Status Operations(const std::string& name, double n, const Work& work,
                          Units units = Units::kTensorBf16);
  // Of which `moved` bytes are read and written, if not `n`.
  absl::Status Bytes(const std::string& name, double n, const Work& work,
                     double moved = 0);
  // Prints how much faster `together` is than `n` times `one`.
  absl::Status Gain(const std::string& name, int64_t n, const Work& one,
                    const Work& together);
  // What was added up from others.
  void Sum(const std::string& name, double rate, const char* unit,
           double limit);

  // Of what was printed last: how long it took, what a line says it reached,
  // and its part of the limit, 0 where that is not known.
  double last_seconds() const { return last_seconds_; }
  double last_rate() const { return last_rate_; }
  double last_fraction() const { return last_fraction_; }
  // "31.0 % of the peak", or what else `of` is.
  std::string LastBound(const std::string& of) const;

  BenchSummary* summary() { return summary_; }

 private:
  Bench(const Device& device, BenchSummary* summary)
      : device_(device), summary_(summary) {}
  void Report(const std::string& name, double seconds, double rate,
              const char* unit, double limit);
  absl::Status Randomize();
  absl::StatusOr<double> MedianSeconds(const Work& work);

  const Device device_;
  int64_t n_floats_ = 0;
  double bytes_a_second_ = 0;
  double last_seconds_ = 0;
  double last_rate_ = 0;
  double last_fraction_ = 0;
  BenchSummary* const summary_;
  DeviceStream stream_;
  DeviceBuffer in_;
  DeviceBuffer out_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_BENCH_H_
