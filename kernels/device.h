// Where kernels run: the processor, or an NVIDIA card with memory of its own.
//
//   ASSIGN_OR_RETURN(Device device, OpenDevice(DeviceChoice::kAuto));
//   ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
//   ASSIGN_OR_RETURN(auto buffer, device.Allocate(n_bytes, tensor_name));
//   RETURN_IF_ERROR(stream.Copy(host, n_bytes, buffer.data()));
//   ...                                    // launch kernels in the stream
//   RETURN_IF_ERROR(stream.Synchronize(tensor_name));
//
// The CPU's device does everything at once where a card would queue it, with
// memory from the heap, so that code written for cards is tested without one.
//
// A Device is a handle, copied freely; what it gave out keeps it alive. All of
// it is safe from any thread, but a stream belongs to one at a time. Statuses
// name the call that failed and what it was for. ResourceExhausted is memory,
// which callers answer with smaller batches: WithSmallerBatches.

#ifndef NARROW_KERNELS_DEVICE_H_
#define NARROW_KERNELS_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/device_backend.h"

namespace narrow {

// What a user asks for: `--device auto|cpu|cuda`.
enum class DeviceChoice { kAuto, kCpu, kCuda };

// InvalidArgument for any other word.
absl::StatusOr<DeviceChoice> ParseDeviceChoice(absl::string_view word);

// A device and what is allocated on it.
struct DeviceState;

// Memory of a device, or pinned memory of the host that a card copies from
// without a detour. Empty by default.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  ~DeviceBuffer() { Free(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  void* data() const { return data_; }
  size_t n_bytes() const { return n_bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  friend class Device;
  void Free();

  std::shared_ptr<DeviceState> state_;
  void* data_ = nullptr;
  size_t n_bytes_ = 0;
  bool is_pinned_ = false;
};

// A mark in a stream's work.
class DeviceEvent {
 public:
  DeviceEvent() = default;
  ~DeviceEvent() { Free(); }
  DeviceEvent(DeviceEvent&& other) noexcept { *this = std::move(other); }
  DeviceEvent& operator=(DeviceEvent&& other) noexcept;

  // Seconds from this one to a later one, both recorded and over.
  absl::StatusOr<double> SecondsTo(const DeviceEvent& later) const;

 private:
  friend class Device;
  friend class DeviceStream;
  void Free();

  std::shared_ptr<DeviceState> state_;
  void* event_ = nullptr;
};

// A queue of work.
class DeviceStream {
 public:
  DeviceStream() = default;
  ~DeviceStream() { Free(); }
  DeviceStream(DeviceStream&& other) noexcept { *this = std::move(other); }
  DeviceStream& operator=(DeviceStream&& other) noexcept;

  // Either end may be the host's or the device's; both stay until it is done.
  absl::Status Copy(const void* from, size_t n_bytes, void* to);
  absl::Status Fill(int byte, size_t n_bytes, void* to);
  absl::Status Record(DeviceEvent* event);
  absl::Status Wait(const DeviceEvent& event);
  // Waits for all of it. `what` ends up in the message of an error that some
  // earlier call left behind.
  absl::Status Synchronize(absl::string_view what);

  // For launchers: a cudaStream_t, or nullptr on the CPU.
  void* handle() const { return stream_; }
  DeviceKind kind() const;

 private:
  friend class Device;
  void Free();

  std::shared_ptr<DeviceState> state_;
  void* stream_ = nullptr;
};

class Device {
 public:
  // The processor. Above `memory_limit` bytes, if not 0, allocation fails.
  static Device Cpu(int64_t memory_limit = 0);

  DeviceKind kind() const;
  const DeviceTraits& traits() const;
  // "NVIDIA H200 (compute capability 9.0, 139.8 GiB)".
  std::string Description() const;

  // ResourceExhausted tells how much was asked for `what`, and how much is
  // free. No bytes give an empty buffer.
  absl::StatusOr<DeviceBuffer> Allocate(size_t n_bytes,
                                        absl::string_view what) const;
  absl::StatusOr<DeviceBuffer> AllocatePinned(size_t n_bytes,
                                              absl::string_view what) const;
  absl::StatusOr<DeviceStream> NewStream() const;
  absl::StatusOr<DeviceEvent> NewEvent() const;
  // What may still be allocated.
  absl::StatusOr<int64_t> FreeMemory() const;

 private:
  friend absl::StatusOr<Device> OpenDevice(DeviceChoice choice,
                                           std::string* note);
  explicit Device(std::shared_ptr<DeviceState> state)
      : state_(std::move(state)) {}

  std::shared_ptr<DeviceState> state_;
};

// kAuto: the first card if there is one that works, else the processor; `note`,
// if given, then tells why there is no card, unless this build has no CUDA.
// kCuda: the card, or why not.
absl::StatusOr<Device> OpenDevice(DeviceChoice choice,
                                  std::string* note = nullptr);

// Calls attempt(n) for n = `wanted`, and after a ResourceExhausted for half of
// it, down to `least`. Returns the n that went; any other error, and the last
// one, as it is. `report` is told each smaller n and the message that made it
// so. REQUIRES: 0 < least <= wanted.
absl::StatusOr<int64_t> WithSmallerBatches(
    int64_t wanted, int64_t least,
    const std::function<absl::Status(int64_t n)>& attempt,
    const std::function<void(int64_t n, absl::string_view why)>& report);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_H_
