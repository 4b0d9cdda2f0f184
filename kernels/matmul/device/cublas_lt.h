// Products by cuBLASLt, if this machine has it: bfloat16 in, float32 sums, the
// bias in the same pass, algorithms by the library's own heuristic, asked once
// a shape.
//
//   ASSIGN_OR_RETURN(auto library, CublasLt::Open(device));
//   RETURN_IF_ERROR(library->Multiply(product, &stream));
//
// For one thread at a time.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_H_
#define NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/matmul/device/cublas_lt_api.h"
#include "kernels/matmul/device/tile_threads.h"

namespace narrow {

// libcublasLt.so.13 or .12, see LoadNvidiaLibrary. Tests call it again with
// another folder in the environment; what it gives is never freed.
absl::StatusOr<const cublas_lt::Api*> LoadCublasLt();

class CublasLt {
 public:
  // NotFound: no library.
  static absl::StatusOr<std::unique_ptr<CublasLt>> Open(const Device& device);
  // `api` must outlive it.
  static absl::StatusOr<std::unique_ptr<CublasLt>> Open(
      const Device& device, const cublas_lt::Api* api);
  ~CublasLt();

  // "cuBLASLt 13.1.0".
  const std::string& name() const { return name_; }
  DeviceKind kind() const { return device_.kind(); }

  // As the kernel of tile_threads.h, in the library's own order of sums, which
  // depends on sizes and the card. Unimplemented: it has nothing for that
  // shape (or a bias of bfloat16 results), and nothing was done. REQUIRES: in
  // each operand, neighbours in a row or in a column are neighbours in memory.
  absl::Status Multiply(const tile::Product& product, DeviceStream* stream);

 private:
  // What the library's choice of an algorithm depends on.
  using Shape = std::array<int64_t, 19>;
  // Descriptors of a shape, and the algorithm; nullptr: there is none.
  struct Plan;

  CublasLt(const Device& device, const cublas_lt::Api* api);
  absl::StatusOr<DeviceBuffer*> WorkspaceOf(DeviceStream* stream);
  absl::StatusOr<const Plan*> PlanOf(const tile::Product& product,
                                     int64_t workspace_bytes);
  absl::StatusOr<std::unique_ptr<Plan>> MakePlan(const tile::Product& product,
                                                 int64_t workspace_bytes);
  absl::Status Choose(const tile::Product& product, int64_t workspace_bytes,
                      Plan* plan);

  const Device device_;
  const cublas_lt::Api* const api_;
  void* handle_ = nullptr;
  std::string name_;
  std::map<void*, DeviceBuffer> workspaces_;  // by stream
  std::map<Shape, std::unique_ptr<Plan>> plans_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_H_
