#include "kernels/matmul/device/cublas.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/nvidia_library.h"

namespace narrow {
namespace {

// Of library_types.h and cublas_api.h.
constexpr int kBf16 = 14;
constexpr int kF32 = 0;
constexpr int kComputeF32 = 68;
constexpr int kDefaultAlgorithm = -1;
constexpr int kNotTransposed = 0;
constexpr int kTransposed = 1;

absl::StatusOr<const CublasApi*> Load() {
  auto api = std::make_unique<CublasApi>();
  ASSIGN_OR_RETURN(
      api->path,
      LoadNvidiaLibrary("cuBLAS", "libcublas.so", {"13", "12"},
                        {Symbol("cublasCreate_v2", &api->create),
                         Symbol("cublasDestroy_v2", &api->destroy),
                         Symbol("cublasSetStream_v2", &api->set_stream),
                         Symbol("cublasGetVersion_v2", &api->get_version),
                         Symbol("cublasGemmEx", &api->gemm_ex)}));
  return api.release();
}

absl::Status CheckCall(int status, absl::string_view call) {
  return status == 0 ? absl::OkStatus()
                     : absl::InternalError(
                           absl::StrCat(call, ": cuBLAS status ", status));
}

// An operand as cuBLAS sees it: columns one after the other.
struct View {
  bool is_row_major;
  int64_t stride;
};

View ViewOf(const tile::Operand& operand) {
  return operand.column == 1 ? View{true, operand.row}
                             : View{false, operand.column};
}

}  // namespace

absl::StatusOr<const CublasApi*> LoadCublas() {
  static const auto& api = *new absl::StatusOr<const CublasApi*>(Load());
  return api;
}

Cublas::Cublas(const CublasApi* api, void* handle, std::string name)
    : api_(api), handle_(handle), name_(std::move(name)) {}

Cublas::Cublas(Cublas&& other) noexcept
    : api_(other.api_),
      handle_(std::exchange(other.handle_, nullptr)),
      name_(std::move(other.name_)) {}

Cublas::~Cublas() {
  if (handle_ != nullptr) {
    api_->destroy(handle_);
  }
}

absl::StatusOr<Cublas> Cublas::Open() {
  ASSIGN_OR_RETURN(const CublasApi* api, LoadCublas());
  int version = 0;
  RETURN_IF_ERROR(
      CheckCall(api->get_version(nullptr, &version), "cublasGetVersion"));
  void* handle = nullptr;
  RETURN_IF_ERROR(CheckCall(api->create(&handle), "cublasCreate"));
  return Cublas(api, handle, absl::StrCat("cuBLAS ", LibraryVersion(version)));
}

// In columns, out^T = right * left^T: its rows are ours.
absl::Status Cublas::Multiply(const tile::Product& product, void* stream) {
  const View left = ViewOf(product.left);
  const View right = ViewOf(product.right);
  const float one = 1;
  // A bias is in `out` already, see DeviceProducts::Multiply.
  const float beta = product.accumulate || product.bias != nullptr ? 1 : 0;
  RETURN_IF_ERROR(
      CheckCall(api_->set_stream(handle_, stream), "cublasSetStream"));
  return CheckCall(
      api_->gemm_ex(
          handle_, right.is_row_major ? kTransposed : kNotTransposed,
          left.is_row_major ? kNotTransposed : kTransposed,
          static_cast<int>(product.n_cols), static_cast<int>(product.n_rows),
          static_cast<int>(product.depth), &one, product.right.data, kBf16,
          static_cast<int>(right.stride), product.left.data, kBf16,
          static_cast<int>(left.stride), &beta,
          product.halves != nullptr ? static_cast<void*>(product.halves)
                                    : product.out,
          product.halves != nullptr ? kBf16 : kF32,
          static_cast<int>(product.out_row), kComputeF32, kDefaultAlgorithm),
      "cublasGemmEx");
}

}  // namespace narrow
