// What a kind of device must be able to do, as a table of functions; one for
// each kind. Callers use device.h.
//
// Every function may be called from any thread. Sizes are in bytes and not
// zero. A stream is a queue of work: what is put into one runs in its order,
// and copies from and to memory that is not pinned may wait for it.

#ifndef NARROW_KERNELS_DEVICE_BACKEND_H_
#define NARROW_KERNELS_DEVICE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace narrow {

enum class DeviceKind { kCpu, kCuda };

// What there is to know of a device before using it.
struct DeviceTraits {
  std::string name;
  int64_t total_bytes = 0;  // of memory
  int n_multiprocessors = 1;
  int compute_major = 0;  // compute capability; 0.0 for the CPU
  int compute_minor = 0;
  int64_t l2_bytes = 0;
  double clock_hz = 0;  // the highest; 0: unknown
};

// Statuses name the call that failed; ResourceExhausted is memory.
struct DeviceBackend {
  DeviceKind kind;
  absl::Status (*allocate)(size_t n_bytes, void** data);
  void (*free)(void* data);
  absl::Status (*allocate_pinned)(size_t n_bytes, void** data);
  void (*free_pinned)(void* data);
  absl::Status (*free_memory)(int64_t* n_bytes);

  absl::Status (*new_stream)(void** stream);
  void (*free_stream)(void* stream);
  // Device memory or host memory at either end.
  absl::Status (*copy)(void* stream, const void* from, size_t n_bytes,
                       void* to);
  absl::Status (*fill)(void* stream, int byte, size_t n_bytes, void* to);
  // Until all of the stream's work is done; tells what went wrong in it.
  absl::Status (*synchronize)(void* stream);

  absl::Status (*new_event)(void** event);
  void (*free_event)(void* event);
  absl::Status (*record)(void* event, void* stream);
  // Later work of the stream waits for what the event was recorded after.
  absl::Status (*wait)(void* stream, void* event);
  // Between two recorded events, once both have happened.
  absl::Status (*elapsed)(void* from, void* to, double* seconds);
};

// A device that was found.
struct FoundDevice {
  const DeviceBackend* backend = nullptr;
  DeviceTraits traits;
};

FoundDevice FindCpu();

// The first card that CUDA_VISIBLE_DEVICES shows. NotFound if there is none or
// no driver, FailedPrecondition if either is too old, and Unimplemented in a
// build without CUDA; messages name the way out.
absl::StatusOr<FoundDevice> FindCuda();

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BACKEND_H_
