// Factors by cuSOLVER, if this machine has it, alone or in batches.
//
//   ASSIGN_OR_RETURN(auto solver, CuSolver::Open(device));
//   RETURN_IF_ERROR(solver->Factor(n, a, n * n, n_batch, infos, &stream));
//
// For one thread at a time.

#ifndef NARROW_KERNELS_LINALG_DEVICE_CUSOLVER_H_
#define NARROW_KERNELS_LINALG_DEVICE_CUSOLVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace narrow {
namespace cusolver {

// The C interface, as much of it as is used: what cusolverDn.h,
// cublas_api.h and library_types.h declare. A build with CUDA compares the two
// (tools/cuda/library_headers.cc).
inline constexpr int kF64 = 1;        // cudaDataType_t
inline constexpr int kFillUpper = 1;  // cublasFillMode_t
// cusolverStatus_t.
inline constexpr int kSuccess = 0;
inline constexpr int kAllocFailed = 2;
inline constexpr int kInvalidValue = 3;

struct Api {
  int (*get_version)(int* version);
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, void* stream);
  int (*create_params)(void** params);
  int (*destroy_params)(void* params);
  int (*buffer_size)(void* handle, void* params, int fill, int64_t n, int type,
                     const void* a, int64_t leading, int compute_type,
                     size_t* device_bytes, size_t* host_bytes);
  int (*factor)(void* handle, void* params, int fill, int64_t n, int type,
                void* a, int64_t leading, int compute_type, void* device_buffer,
                size_t device_bytes, void* host_buffer, size_t host_bytes,
                int* info);
  int (*factor_batch)(void* handle, int fill, int n, double** a, int leading,
                      int* infos, int n_batch);
  std::string path;
};

}  // namespace cusolver

// libcusolver.so.12 or .11, see LoadNvidiaLibrary. What it gives is never
// freed.
absl::StatusOr<const cusolver::Api*> LoadCuSolver();

class CuSolver {
 public:
  // NotFound: no library.
  static absl::StatusOr<std::unique_ptr<CuSolver>> Open(const Device& device);
  // `api` must outlive it.
  static absl::StatusOr<std::unique_ptr<CuSolver>> Open(
      const Device& device, const cusolver::Api* api);
  ~CuSolver();

  // "cuSOLVER 12.0.3".
  const std::string& name() const { return name_; }

  // n_batch matrices [n, n], `step` numbers apart, positive ones, become L in
  // A = L L^T, of whose row-major memory the lower triangles are read and
  // written; infos[i] 0, or the order of the first minor that is not positive.
  // Pointers are the device's. ResourceExhausted: its memory.
  absl::Status Factor(int64_t n, double* a, int64_t step, int64_t n_batch,
                      int* infos, DeviceStream* stream);

 private:
  CuSolver(const Device& device, const cusolver::Api* api)
      : device_(device), api_(api) {}
  absl::Status FactorOne(int64_t n, double* a, int* info);
  absl::Status FactorBatch(int64_t n, double* a, int64_t step, int64_t n_batch,
                           int* infos, DeviceStream* stream);

  const Device device_;
  const cusolver::Api* const api_;
  void* handle_ = nullptr;
  void* params_ = nullptr;
  std::string name_;
  DeviceBuffer workspace_;
  std::vector<uint8_t> host_workspace_;
  DeviceBuffer pointers_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_CUSOLVER_H_
