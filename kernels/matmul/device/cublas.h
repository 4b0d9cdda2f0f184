// NVIDIA's older library of products, if this machine has it, for where
// cublas_lt.h's is missing or has nothing that fits.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/matmul/device/tile_threads.h"

namespace narrow {

// The functions that are used, with the C interface that cuBLAS has had since
// version 11.
struct CublasApi {
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, void* stream);
  int (*get_version)(void* handle, int* version);
  int (*gemm_ex)(void* handle, int trans_a, int trans_b, int m, int n, int k,
                 const void* alpha, const void* a, int a_type, int lda,
                 const void* b, int b_type, int ldb, const void* beta, void* c,
                 int c_type, int ldc, int compute_type, int algorithm);
  std::string path;
};

// libcublas.so.13 or .12, see LoadNvidiaLibrary. Found once.
absl::StatusOr<const CublasApi*> LoadCublas();

// A handle, for one thread at a time.
class Cublas {
 public:
  static absl::StatusOr<Cublas> Open();
  ~Cublas();
  Cublas(Cublas&& other) noexcept;
  Cublas& operator=(Cublas&&) = delete;

  // "cuBLAS 13.1.0".
  const std::string& name() const { return name_; }

  // As the kernel of tile_threads.h, but in the library's own order of sums,
  // which depends on sizes and the card. REQUIRES: in each operand, neighbours
  // in a row or in a column are neighbours in memory; sizes below 2^31,
  // one product. With a bias, `out` holds it already (and what is accumulated),
  // and no halves are asked for.
  absl::Status Multiply(const tile::Product& product, void* stream);

 private:
  Cublas(const CublasApi* api, void* handle, std::string name);

  const CublasApi* api_;
  void* handle_;
  std::string name_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_H_
