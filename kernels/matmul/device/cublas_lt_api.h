// cuBLASLt's C interface, as much of it as is used: what cublasLt.h and
// library_types.h declare, so that no toolkit is asked for. A build with CUDA
// compares the two (tools/cuda/library_headers.cc).

#ifndef NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_API_H_
#define NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_API_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace narrow {
namespace cublas_lt {

// cudaDataType_t, cublasComputeType_t, cublasOperation_t.
inline constexpr int kF32 = 0;
inline constexpr int kBf16 = 14;
inline constexpr int kComputeF32 = 68;
inline constexpr int32_t kNotTransposed = 0;
inline constexpr int32_t kTransposed = 1;

// cublasLtMatmulDescAttributes_t, and sizes of the values.
inline constexpr int kDescTransA = 3;       // int32_t
inline constexpr int kDescTransB = 4;       // int32_t
inline constexpr int kDescEpilogue = 7;     // uint32_t
inline constexpr int kDescBiasPointer = 8;  // const void*
// cublasLtEpilogue_t.
inline constexpr uint32_t kEpilogueBias = 4;
// cublasLtMatrixLayoutAttribute_t.
inline constexpr int kLayoutBatchCount = 5;   // int32_t
inline constexpr int kLayoutBatchOffset = 6;  // int64_t
// cublasLtMatmulPreferenceAttributes_t.
inline constexpr int kPreferWorkspace = 1;   // uint64_t, at most
inline constexpr int kPreferAlignmentA = 5;  // uint32_t, at least; B, C, D
                                             // are the next three
// cublasStatus_t.
inline constexpr int kSuccess = 0;
inline constexpr int kAllocFailed = 3;
inline constexpr int kInvalidValue = 7;
inline constexpr int kNotSupported = 15;

// cublasLtMatmulAlgo_t.
struct Algorithm {
  uint64_t data[8];
};
// cublasLtMatmulHeuristicResult_t.
struct Choice {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

// Handles and descriptors are pointers that only the library looks into.
struct Api {
  size_t (*get_version)();
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*desc_create)(void** desc, int compute_type, int scale_type);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t n_bytes);
  int (*layout_create)(void** layout, int type, uint64_t n_rows,
                       uint64_t n_cols, int64_t leading);
  int (*layout_destroy)(void* layout);
  int (*layout_set)(void* layout, int attribute, const void* value,
                    size_t n_bytes);
  int (*preference_create)(void** preference);
  int (*preference_destroy)(void* preference);
  int (*preference_set)(void* preference, int attribute, const void* value,
                        size_t n_bytes);
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d,
                   void* preference, int n_wanted, Choice* choices,
                   int* n_found);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a,
                void* a_layout, const void* b, void* b_layout, const void* beta,
                const void* c, void* c_layout, void* d, void* d_layout,
                const Algorithm* algorithm, void* workspace,
                size_t workspace_bytes, void* stream);
  std::string path;
};

}  // namespace cublas_lt
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_CUBLAS_LT_API_H_
