// The processor as a device: memory of the heap, and work done at once.

#include <sys/sysinfo.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/device_backend.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// As aligned as a card's memory is.
constexpr size_t kAlignment = 256;

absl::Status Allocate(size_t n_bytes, void** data) {
  const size_t rounded = (n_bytes + kAlignment - 1) / kAlignment * kAlignment;
  *data = rounded < n_bytes ? nullptr : std::aligned_alloc(kAlignment, rounded);
  return *data != nullptr ? absl::OkStatus()
                          : absl::ResourceExhaustedError(absl::StrCat(
                                "aligned_alloc(", n_bytes, "): out of memory"));
}

void Free(void* data) { std::free(data); }

absl::Status FreeMemory(int64_t* n_bytes) {
  struct sysinfo info;
  if (sysinfo(&info) != 0) {
    return absl::InternalError("sysinfo() failed");
  }
  *n_bytes = static_cast<int64_t>(info.freeram + info.bufferram) *
             static_cast<int64_t>(info.mem_unit);
  return absl::OkStatus();
}

absl::Status NewStream(void** stream) {
  *stream = nullptr;
  return absl::OkStatus();
}

void FreeStream(void* /*stream*/) {}

absl::Status Copy(void* /*stream*/, const void* from, size_t n_bytes,
                  void* to) {
  std::memmove(to, from, n_bytes);
  return absl::OkStatus();
}

absl::Status Fill(void* /*stream*/, int byte, size_t n_bytes, void* to) {
  std::memset(to, byte, n_bytes);
  return absl::OkStatus();
}

absl::Status Synchronize(void* /*stream*/) { return absl::OkStatus(); }

absl::Status NewEvent(void** event) {
  *event = new Clock::time_point(Clock::now());
  return absl::OkStatus();
}

void FreeEvent(void* event) { delete static_cast<Clock::time_point*>(event); }

absl::Status Record(void* event, void* /*stream*/) {
  *static_cast<Clock::time_point*>(event) = Clock::now();
  return absl::OkStatus();
}

absl::Status Wait(void* /*stream*/, void* /*event*/) {
  return absl::OkStatus();
}

absl::Status Elapsed(void* from, void* to, double* seconds) {
  *seconds =
      std::chrono::duration<double>(*static_cast<Clock::time_point*>(to) -
                                    *static_cast<Clock::time_point*>(from))
          .count();
  return absl::OkStatus();
}

constexpr DeviceBackend kBackend = {
    DeviceKind::kCpu, Allocate,   Free, Allocate, Free,        FreeMemory,
    NewStream,        FreeStream, Copy, Fill,     Synchronize, NewEvent,
    FreeEvent,        Record,     Wait, Elapsed};

}  // namespace

FoundDevice FindCpu() {
  FoundDevice found;
  found.backend = &kBackend;
  found.traits.name = "the processor";
  struct sysinfo info;
  if (sysinfo(&info) == 0) {
    found.traits.total_bytes = static_cast<int64_t>(info.totalram) *
                               static_cast<int64_t>(info.mem_unit);
  }
  return found;
}

}  // namespace narrow
