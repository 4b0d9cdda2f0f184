// A libcusolver for tests, which factors on the processor as the real one does
// on a card, in columns, and is as strict about sizes and workspaces. What it
// refuses it tells in FakeComplaint. The interface is cusolverDn.h's.

#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "kernels/linalg/device/cusolver.h"

namespace {

namespace cs = narrow::cusolver;

constexpr size_t kHostBytes = 24;

std::set<void*>& Living() {
  static std::set<void*> living;
  return living;
}
std::string& Complaint() {
  static std::string complaint;
  return complaint;
}
std::string failing_call;
int failing_status = 0;
int n_alone = 0;
int n_batches = 0;

int Refuse(const char* why) {
  Complaint() = why;
  return cs::kInvalidValue;
}
bool Fails(const char* call, int* status) {
  *status = failing_status;
  return failing_call == call;
}
int New(void** out) {
  *out = new int;
  Living().insert(*out);
  return cs::kSuccess;
}
int Delete(void* it) {
  if (Living().erase(it) == 0) {
    return Refuse("destroyed twice");
  }
  delete static_cast<int*>(it);
  return cs::kSuccess;
}

// A = U^T U in columns, row after row. Below the diagonal nothing is read.
int Potrf(int64_t n, double* a, int64_t leading) {
  for (int64_t j = 0; j < n; ++j) {
    double sum = a[j + j * leading];
    for (int64_t k = 0; k < j; ++k) {
      sum -= a[k + j * leading] * a[k + j * leading];
    }
    if (!(sum > 0)) {
      return static_cast<int>(j + 1);
    }
    const double root = std::sqrt(sum);
    a[j + j * leading] = root;
    for (int64_t i = j + 1; i < n; ++i) {
      double other = a[j + i * leading];
      for (int64_t k = 0; k < j; ++k) {
        other -= a[k + j * leading] * a[k + i * leading];
      }
      a[j + i * leading] = other / root;
    }
  }
  return 0;
}

}  // namespace

extern "C" {

void FakeFail(const char* call, int status) {
  failing_call = call;
  failing_status = status;
}
const char* FakeComplaint() { return Complaint().c_str(); }
int FakeAlone() { return n_alone; }
int FakeBatches() { return n_batches; }
int FakeLiving() { return static_cast<int>(Living().size()); }

int cusolverGetVersion(int* version) {
  *version = 12003;
  return cs::kSuccess;
}
int cusolverDnCreate(void** handle) {
  int status;
  return Fails("cusolverDnCreate", &status) ? status : New(handle);
}
int cusolverDnDestroy(void* handle) { return Delete(handle); }
int cusolverDnSetStream(void* handle, void* /*stream*/) {
  return Living().count(handle) != 0 ? cs::kSuccess : Refuse("handle");
}
int cusolverDnCreateParams(void** params) { return New(params); }
int cusolverDnDestroyParams(void* params) { return Delete(params); }

int cusolverDnXpotrf_bufferSize(void* handle, void* params, int fill, int64_t n,
                                int type, const void* a, int64_t leading,
                                int compute_type, size_t* device_bytes,
                                size_t* host_bytes) {
  if (Living().count(handle) == 0 || Living().count(params) == 0 ||
      handle == params) {
    return Refuse("handles");
  }
  if (fill != cs::kFillUpper || type != cs::kF64 || compute_type != cs::kF64 ||
      leading < n || n <= 0 || a == nullptr) {
    return Refuse("matrix");
  }
  *device_bytes = static_cast<size_t>(8 * n + 16);
  *host_bytes = kHostBytes;
  return cs::kSuccess;
}

int cusolverDnXpotrf(void* handle, void* params, int fill, int64_t n, int type,
                     void* a, int64_t leading, int compute_type,
                     void* device_buffer, size_t device_bytes,
                     void* host_buffer, size_t host_bytes, int* info) {
  int status;
  if (Fails("cusolverDnXpotrf", &status)) {
    return status;
  }
  size_t needed_device;
  size_t needed_host;
  status =
      cusolverDnXpotrf_bufferSize(handle, params, fill, n, type, a, leading,
                                  compute_type, &needed_device, &needed_host);
  if (status != cs::kSuccess) {
    return status;
  }
  if (device_bytes < needed_device || host_bytes < needed_host ||
      device_buffer == nullptr || host_buffer == nullptr) {
    return Refuse("workspace");
  }
  std::memset(device_buffer, 0xff, needed_device);
  std::memset(host_buffer, 0xff, needed_host);
  ++n_alone;
  *info = Potrf(n, static_cast<double*>(a), leading);
  return cs::kSuccess;
}

int cusolverDnDpotrfBatched(void* handle, int fill, int n, double** a,
                            int leading, int* infos, int n_batch) {
  int status;
  if (Fails("cusolverDnDpotrfBatched", &status)) {
    return status;
  }
  if (Living().count(handle) == 0 || fill != cs::kFillUpper || n <= 0 ||
      leading < n || n_batch <= 0) {
    return Refuse("batch");
  }
  ++n_batches;
  for (int i = 0; i < n_batch; ++i) {
    infos[i] = Potrf(n, a[i], leading);
  }
  return cs::kSuccess;
}

}  // extern "C"
