// Times work on a device and prints a line for it, beside what the device
// allows.
//
//   ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats));
//   RETURN_IF_ERROR(bench->Operations("product", 2.0 * m * n * k, work));
//   RETURN_IF_ERROR(bench->Bytes("norm", 6.0 * n, work));

#ifndef NARROW_KERNELS_DEVICE_BENCH_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_BENCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"

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
  // bfloat16, and room for as many. Prints the rate of the memory.
  static absl::StatusOr<std::unique_ptr<Bench>> New(const Device& device,
                                                    int64_t n_floats);

  const Device& device() const { return device_; }
  DeviceStream* stream() { return &stream_; }
  int64_t n_floats() const { return n_floats_; }
  float* in() const { return in_.as<float>(); }
  uint16_t* in_halves() const { return in_.as<uint16_t>(); }
  float* out() const { return out_.as<float>(); }
  uint16_t* out_halves() const { return out_.as<uint16_t>(); }

  // Prints `n` operations or bytes a second, and their part of the peak or of
  // the memory's rate, which was measured: the median of a few runs.
  absl::Status Operations(const std::string& name, double n, const Work& work,
                          Units units = Units::kTensorBf16);
  absl::Status Bytes(const std::string& name, double n, const Work& work);
  // Prints how much faster `together` is than `n` times `one`.
  absl::Status Gain(const std::string& name, int64_t n, const Work& one,
                    const Work& together);

 private:
  explicit Bench(const Device& device) : device_(device) {}
  absl::Status Randomize();
  absl::StatusOr<double> MedianSeconds(const Work& work);

  const Device device_;
  int64_t n_floats_ = 0;
  double bytes_a_second_ = 0;
  DeviceStream stream_;
  DeviceBuffer in_;
  DeviceBuffer out_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_BENCH_H_
