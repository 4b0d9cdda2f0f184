// Compared when it is compiled: what this project declares of NVIDIA's
// libraries, so that it builds without a toolkit, and what their headers say.
// Nothing of it runs. A toolkit may lack these headers.

#include <cstddef>
#include <type_traits>

#include "kernels/linalg/device/cusolver.h"
#include "kernels/matmul/device/cublas_lt_api.h"

namespace narrow {
namespace {

// As they are passed: pointers, integers of a size.
template <typename A, typename B>
struct SamePassed {
  static constexpr bool kIs =
      std::is_pointer<A>::value == std::is_pointer<B>::value &&
      sizeof(A) == sizeof(B);
};
template <typename A, typename B>
struct SameCall {
  static constexpr bool kIs = false;
};
template <typename R, typename S, typename... A, typename... B>
struct SameCall<R (*)(A...), S (*)(B...)> {
  static constexpr bool Check() {
    if constexpr (sizeof...(A) == sizeof...(B)) {
      return (SamePassed<A, B>::kIs && ...) && SamePassed<R, S>::kIs;
    } else {
      return false;
    }
  }
  static constexpr bool kIs = Check();
};

}  // namespace
}  // namespace narrow

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace narrow {
namespace cublas_lt {

static_assert(kF32 == CUDA_R_32F && kBf16 == CUDA_R_16BF, "");
static_assert(kComputeF32 == CUBLAS_COMPUTE_32F, "");
static_assert(kNotTransposed == CUBLAS_OP_N && kTransposed == CUBLAS_OP_T, "");
static_assert(kDescTransA == CUBLASLT_MATMUL_DESC_TRANSA, "");
static_assert(kDescTransB == CUBLASLT_MATMUL_DESC_TRANSB, "");
static_assert(kDescEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE, "");
static_assert(kDescBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER, "");
static_assert(kEpilogueBias == CUBLASLT_EPILOGUE_BIAS, "");
static_assert(kLayoutBatchCount == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, "");
static_assert(kLayoutBatchOffset == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
              "");
static_assert(kPreferWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, "");
static_assert(kPreferAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
              "");
static_assert(kPreferAlignmentA + 3 ==
                  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
              "");
static_assert(kSuccess == CUBLAS_STATUS_SUCCESS, "");
static_assert(kAllocFailed == CUBLAS_STATUS_ALLOC_FAILED, "");
static_assert(kInvalidValue == CUBLAS_STATUS_INVALID_VALUE, "");
static_assert(kNotSupported == CUBLAS_STATUS_NOT_SUPPORTED, "");
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t), "");
static_assert(sizeof(Choice) == sizeof(cublasLtMatmulHeuristicResult_t), "");
static_assert(offsetof(Choice, workspace_bytes) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize),
              "");
static_assert(offsetof(Choice, state) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, state),
              "");

#define NARROW_SAME_CALL(ours, theirs) \
  static_assert(SameCall<decltype(Api::ours), decltype(&theirs)>::kIs, #theirs)
NARROW_SAME_CALL(get_version, cublasLtGetVersion);
NARROW_SAME_CALL(create, cublasLtCreate);
NARROW_SAME_CALL(destroy, cublasLtDestroy);
NARROW_SAME_CALL(desc_create, cublasLtMatmulDescCreate);
NARROW_SAME_CALL(desc_destroy, cublasLtMatmulDescDestroy);
NARROW_SAME_CALL(desc_set, cublasLtMatmulDescSetAttribute);
NARROW_SAME_CALL(layout_create, cublasLtMatrixLayoutCreate);
NARROW_SAME_CALL(layout_destroy, cublasLtMatrixLayoutDestroy);
NARROW_SAME_CALL(layout_set, cublasLtMatrixLayoutSetAttribute);
NARROW_SAME_CALL(preference_create, cublasLtMatmulPreferenceCreate);
NARROW_SAME_CALL(preference_destroy, cublasLtMatmulPreferenceDestroy);
NARROW_SAME_CALL(preference_set, cublasLtMatmulPreferenceSetAttribute);
NARROW_SAME_CALL(heuristic, cublasLtMatmulAlgoGetHeuristic);
NARROW_SAME_CALL(matmul, cublasLtMatmul);
#undef NARROW_SAME_CALL

}  // namespace cublas_lt
}  // namespace narrow
#endif

#if __has_include(<cusolverDn.h>)
#include <cusolverDn.h>

namespace narrow {
namespace cusolver {

static_assert(kF64 == CUDA_R_64F, "");
static_assert(kFillUpper == CUBLAS_FILL_MODE_UPPER, "");
static_assert(kSuccess == CUSOLVER_STATUS_SUCCESS, "");
static_assert(kAllocFailed == CUSOLVER_STATUS_ALLOC_FAILED, "");
static_assert(kInvalidValue == CUSOLVER_STATUS_INVALID_VALUE, "");

#define NARROW_SAME_CALL(ours, theirs) \
  static_assert(SameCall<decltype(Api::ours), decltype(&theirs)>::kIs, #theirs)
NARROW_SAME_CALL(get_version, cusolverGetVersion);
NARROW_SAME_CALL(create, cusolverDnCreate);
NARROW_SAME_CALL(destroy, cusolverDnDestroy);
NARROW_SAME_CALL(set_stream, cusolverDnSetStream);
NARROW_SAME_CALL(create_params, cusolverDnCreateParams);
NARROW_SAME_CALL(destroy_params, cusolverDnDestroyParams);
NARROW_SAME_CALL(buffer_size, cusolverDnXpotrf_bufferSize);
NARROW_SAME_CALL(factor, cusolverDnXpotrf);
NARROW_SAME_CALL(factor_batch, cusolverDnDpotrfBatched);
#undef NARROW_SAME_CALL

}  // namespace cusolver
}  // namespace narrow
#endif
