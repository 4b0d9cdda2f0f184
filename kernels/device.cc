#include "kernels/device.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"

namespace narrow {

struct DeviceState {
  FoundDevice found;
  int64_t memory_limit = 0;  // 0: none but the device's
  std::atomic<int64_t> n_allocated{0};
};

namespace {

std::shared_ptr<DeviceState> NewState(FoundDevice found, int64_t memory_limit) {
  auto state = std::make_shared<DeviceState>();
  state->found = std::move(found);
  state->memory_limit = memory_limit;
  return state;
}

absl::StatusOr<int64_t> FreeMemoryOf(const DeviceState& state) {
  int64_t n_bytes = 0;
  RETURN_IF_ERROR(state.found.backend->free_memory(&n_bytes));
  if (state.memory_limit > 0) {
    n_bytes = std::min(
        n_bytes, std::max<int64_t>(0, state.memory_limit - state.n_allocated));
  }
  return n_bytes;
}

// `status` of an allocation, with what is free where memory is the trouble.
absl::Status ExplainMemory(const DeviceState& state, const absl::Status& status,
                           size_t n_bytes, absl::string_view what) {
  std::string detail =
      absl::StrCat("allocating ", n_bytes, " bytes for ", QuotedName(what),
                   " on ", state.found.traits.name);
  if (absl::IsResourceExhausted(status)) {
    const absl::StatusOr<int64_t> left = FreeMemoryOf(state);
    if (left.ok()) {
      absl::StrAppend(&detail, ", where ", *left, " are free");
    }
  }
  return Annotate(status, detail);
}

}  // namespace

absl::StatusOr<DeviceChoice> ParseDeviceChoice(absl::string_view word) {
  if (word == "auto") return DeviceChoice::kAuto;
  if (word == "cpu") return DeviceChoice::kCpu;
  if (word == "cuda") return DeviceChoice::kCuda;
  return absl::InvalidArgumentError(absl::StrCat(
      "no device ", QuotedName(word), "; there are auto, cpu and cuda"));
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(data_, other.data_);
  std::swap(n_bytes_, other.n_bytes_);
  std::swap(is_pinned_, other.is_pinned_);
  return *this;
}

void DeviceBuffer::Free() {
  if (data_ == nullptr) {
    return;
  }
  const DeviceBackend& backend = *state_->found.backend;
  if (is_pinned_) {
    backend.free_pinned(data_);
  } else {
    backend.free(data_);
    state_->n_allocated -= static_cast<int64_t>(n_bytes_);
  }
  data_ = nullptr;
}

DeviceEvent& DeviceEvent::operator=(DeviceEvent&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(event_, other.event_);
  return *this;
}

void DeviceEvent::Free() {
  if (state_ != nullptr) {
    state_->found.backend->free_event(event_);
  }
  state_ = nullptr;
}

absl::StatusOr<double> DeviceEvent::SecondsTo(const DeviceEvent& later) const {
  double seconds = 0;
  RETURN_IF_ERROR(
      state_->found.backend->elapsed(event_, later.event_, &seconds));
  return seconds;
}

DeviceStream& DeviceStream::operator=(DeviceStream&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(stream_, other.stream_);
  return *this;
}

void DeviceStream::Free() {
  if (state_ != nullptr) {
    state_->found.backend->free_stream(stream_);
  }
  state_ = nullptr;
}

DeviceKind DeviceStream::kind() const { return state_->found.backend->kind; }

absl::Status DeviceStream::Copy(const void* from, size_t n_bytes, void* to) {
  if (n_bytes == 0) {
    return absl::OkStatus();
  }
  return state_->found.backend->copy(stream_, from, n_bytes, to);
}

absl::Status DeviceStream::Fill(int byte, size_t n_bytes, void* to) {
  if (n_bytes == 0) {
    return absl::OkStatus();
  }
  return state_->found.backend->fill(stream_, byte, n_bytes, to);
}

absl::Status DeviceStream::Record(DeviceEvent* event) {
  return state_->found.backend->record(event->event_, stream_);
}

absl::Status DeviceStream::Wait(const DeviceEvent& event) {
  return state_->found.backend->wait(stream_, event.event_);
}

absl::Status DeviceStream::Synchronize(absl::string_view what) {
  const absl::Status status = state_->found.backend->synchronize(stream_);
  return status.ok() ? status
                     : Annotate(status, absl::StrCat(
                                            "working on ", QuotedName(what),
                                            " on ", state_->found.traits.name));
}

Device Device::Cpu(int64_t memory_limit) {
  return Device(NewState(FindCpu(), memory_limit));
}

DeviceKind Device::kind() const { return state_->found.backend->kind; }

const DeviceTraits& Device::traits() const { return state_->found.traits; }

std::string Device::Description() const {
  const DeviceTraits& t = traits();
  if (kind() == DeviceKind::kCpu) {
    return t.name;
  }
  return absl::StrFormat("%s (compute capability %d.%d, %.1f GiB)", t.name,
                         t.compute_major, t.compute_minor,
                         static_cast<double>(t.total_bytes) / (1 << 30));
}

absl::StatusOr<DeviceBuffer> Device::Allocate(size_t n_bytes,
                                              absl::string_view what) const {
  DeviceBuffer buffer;
  if (n_bytes == 0) {
    return buffer;
  }
  const int64_t size = static_cast<int64_t>(n_bytes);
  absl::Status status = absl::OkStatus();
  if (state_->memory_limit > 0 &&
      (state_->n_allocated += size) > state_->memory_limit) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("limited to ", state_->memory_limit, " bytes of memory"));
  } else {
    if (state_->memory_limit == 0) {
      state_->n_allocated += size;
    }
    status = state_->found.backend->allocate(n_bytes, &buffer.data_);
  }
  if (!status.ok()) {
    state_->n_allocated -= size;
    buffer.data_ = nullptr;
    return ExplainMemory(*state_, status, n_bytes, what);
  }
  buffer.n_bytes_ = n_bytes;
  buffer.state_ = state_;
  return buffer;
}

absl::StatusOr<DeviceBuffer> Device::AllocatePinned(
    size_t n_bytes, absl::string_view what) const {
  DeviceBuffer buffer;
  if (n_bytes == 0) {
    return buffer;
  }
  const absl::Status status =
      state_->found.backend->allocate_pinned(n_bytes, &buffer.data_);
  if (!status.ok()) {
    buffer.data_ = nullptr;
    return Annotate(
        status, absl::StrCat("allocating ", n_bytes,
                             " bytes of pinned memory for ", QuotedName(what)));
  }
  buffer.n_bytes_ = n_bytes;
  buffer.is_pinned_ = true;
  buffer.state_ = state_;
  return buffer;
}

absl::StatusOr<DeviceStream> Device::NewStream() const {
  DeviceStream stream;
  RETURN_IF_ERROR(state_->found.backend->new_stream(&stream.stream_));
  stream.state_ = state_;
  return stream;
}

absl::StatusOr<DeviceEvent> Device::NewEvent() const {
  DeviceEvent event;
  RETURN_IF_ERROR(state_->found.backend->new_event(&event.event_));
  event.state_ = state_;
  return event;
}

absl::StatusOr<int64_t> Device::FreeMemory() const {
  return FreeMemoryOf(*state_);
}

absl::StatusOr<Device> OpenDevice(DeviceChoice choice, std::string* note) {
  if (choice == DeviceChoice::kCpu) {
    return Device::Cpu();
  }
  absl::StatusOr<FoundDevice> found = FindCuda();
  if (found.ok()) {
    return Device(NewState(*std::move(found), 0));
  }
  if (choice == DeviceChoice::kCuda) {
    return found.status();
  }
  if (note != nullptr && !absl::IsUnimplemented(found.status())) {
    *note = std::string(found.status().message());
  }
  return Device::Cpu();
}

absl::StatusOr<int64_t> WithSmallerBatches(
    int64_t wanted, int64_t least,
    const std::function<absl::Status(int64_t n)>& attempt,
    const std::function<void(int64_t n, absl::string_view why)>& report) {
  int64_t n = wanted;
  for (;;) {
    const absl::Status status = attempt(n);
    if (status.ok()) {
      return n;
    }
    if (!absl::IsResourceExhausted(status) || n <= least) {
      return status;
    }
    n = std::max(least, n / 2);
    if (report != nullptr) {
      report(n, status.message());
    }
  }
}

}  // namespace narrow
