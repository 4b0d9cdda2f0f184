// A card as a device, by the CUDA runtime, which is linked statically and
// looks for the driver when it is first used.

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "kernels/cuda_status.h"
#include "kernels/device_backend.h"

namespace narrow {

absl::Status CudaStatus(cudaError_t error, absl::string_view call) {
  if (error == cudaSuccess) {
    return absl::OkStatus();
  }
  // An error that does not stick is given once more by the next call.
  cudaGetLastError();
  const std::string message =
      absl::StrCat(call, ": ", cudaGetErrorString(error), " (error ",
                   static_cast<int>(error), ", ", cudaGetErrorName(error), ")");
  return error == cudaErrorMemoryAllocation
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

absl::Status LaunchStatus(absl::string_view kernel) {
  return CudaStatus(cudaGetLastError(),
                    absl::StrCat("launching kernel ", kernel));
}

namespace {

cudaStream_t StreamOf(void* stream) {
  return static_cast<cudaStream_t>(stream);
}
cudaEvent_t EventOf(void* event) { return static_cast<cudaEvent_t>(event); }

absl::Status Allocate(size_t n_bytes, void** data) {
  return CudaStatus(cudaMalloc(data, n_bytes), "cudaMalloc");
}

void Free(void* data) { cudaFree(data); }

absl::Status AllocatePinned(size_t n_bytes, void** data) {
  return CudaStatus(cudaMallocHost(data, n_bytes), "cudaMallocHost");
}

void FreePinned(void* data) { cudaFreeHost(data); }

absl::Status FreeMemory(int64_t* n_bytes) {
  size_t free = 0;
  size_t total = 0;
  RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
  *n_bytes = static_cast<int64_t>(free);
  return absl::OkStatus();
}

absl::Status NewStream(void** stream) {
  cudaStream_t made = nullptr;
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking),
                 "cudaStreamCreateWithFlags"));
  *stream = made;
  return absl::OkStatus();
}

void FreeStream(void* stream) { cudaStreamDestroy(StreamOf(stream)); }

absl::Status Copy(void* stream, const void* from, size_t n_bytes, void* to) {
  return CudaStatus(
      cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDefault, StreamOf(stream)),
      "cudaMemcpyAsync");
}

absl::Status Fill(void* stream, int byte, size_t n_bytes, void* to) {
  return CudaStatus(cudaMemsetAsync(to, byte, n_bytes, StreamOf(stream)),
                    "cudaMemsetAsync");
}

absl::Status Synchronize(void* stream) {
  return CudaStatus(cudaStreamSynchronize(StreamOf(stream)),
                    "cudaStreamSynchronize");
}

absl::Status NewEvent(void** event) {
  cudaEvent_t made = nullptr;
  RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&made), "cudaEventCreate"));
  *event = made;
  return absl::OkStatus();
}

void FreeEvent(void* event) { cudaEventDestroy(EventOf(event)); }

absl::Status Record(void* event, void* stream) {
  return CudaStatus(cudaEventRecord(EventOf(event), StreamOf(stream)),
                    "cudaEventRecord");
}

absl::Status Wait(void* stream, void* event) {
  return CudaStatus(cudaStreamWaitEvent(StreamOf(stream), EventOf(event), 0),
                    "cudaStreamWaitEvent");
}

absl::Status Elapsed(void* from, void* to, double* seconds) {
  float milliseconds = 0;
  RETURN_IF_ERROR(CudaStatus(
      cudaEventElapsedTime(&milliseconds, EventOf(from), EventOf(to)),
      "cudaEventElapsedTime"));
  *seconds = milliseconds * 1e-3;
  return absl::OkStatus();
}

constexpr DeviceBackend kBackend = {DeviceKind::kCuda,
                                    Allocate,
                                    Free,
                                    AllocatePinned,
                                    FreePinned,
                                    FreeMemory,
                                    NewStream,
                                    FreeStream,
                                    Copy,
                                    Fill,
                                    Synchronize,
                                    NewEvent,
                                    FreeEvent,
                                    Record,
                                    Wait,
                                    Elapsed};

std::string VersionText(int version) {
  return absl::StrFormat("%d.%d", version / 1000, version % 1000 / 10);
}

// Whether there is a driver, and one for this runtime.
absl::Status CheckDriver() {
  int driver = 0;
  int runtime = 0;
  RETURN_IF_ERROR(
      CudaStatus(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion"));
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return absl::NotFoundError(
        "no NVIDIA driver (libcuda.so.1) was found: install one, or use "
        "--device cpu");
  }
  // Within one major version an older driver will do.
  if (driver / 1000 < runtime / 1000) {
    return absl::FailedPreconditionError(
        absl::StrCat("the NVIDIA driver is for CUDA ", VersionText(driver),
                     ", and this narrow needs one for CUDA ", runtime / 1000,
                     ".0 or later: update the driver, or use --device cpu"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FoundDevice> FindCuda() {
  RETURN_IF_ERROR(CheckDriver());
  int n_devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&n_devices);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && n_devices == 0)) {
    return absl::NotFoundError(
        "the NVIDIA driver shows no card (CUDA_VISIBLE_DEVICES?)");
  }
  RETURN_IF_ERROR(CudaStatus(error, "cudaGetDeviceCount"));
  cudaDeviceProp properties;
  RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, 0),
                             "cudaGetDeviceProperties"));
  if (properties.major < 8) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s has compute capability %d.%d, and narrow needs 8.0 (Ampere) or "
        "newer",
        properties.name, properties.major, properties.minor));
  }
  FoundDevice found;
  found.backend = &kBackend;
  found.traits.name = properties.name;
  found.traits.total_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  found.traits.n_multiprocessors = properties.multiProcessorCount;
  found.traits.compute_major = properties.major;
  found.traits.compute_minor = properties.minor;
  found.traits.l2_bytes = properties.l2CacheSize;
  int clock_khz = 0;
  RETURN_IF_ERROR(CudaStatus(
      cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0),
      "cudaDeviceGetAttribute"));
  found.traits.clock_hz = 1e3 * clock_khz;
  return found;
}

}  // namespace narrow
