// The library thinks in columns: in those, the lower triangle of a row-major
// matrix is an upper one, and L is U of A = U^T U.

#include "kernels/linalg/device/cusolver.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/nvidia_library.h"

namespace narrow {

using cusolver::Api;

namespace {

absl::Status CheckCall(int status, absl::string_view call) {
  if (status == cusolver::kSuccess) {
    return absl::OkStatus();
  }
  const std::string message = absl::StrCat(call, ": cuSOLVER status ", status);
  return status == cusolver::kAllocFailed
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

// Larger than `n_bytes`, or as large; none of what is in it is kept.
absl::Status Grow(const Device& device, size_t n_bytes, const char* what,
                  DeviceBuffer* buffer) {
  if (buffer->n_bytes() < n_bytes) {
    *buffer = DeviceBuffer();
    ASSIGN_OR_RETURN(*buffer, device.Allocate(n_bytes, what));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const Api*> LoadCuSolver() {
  auto api = std::make_unique<Api>();
  ASSIGN_OR_RETURN(
      api->path, LoadNvidiaLibrary(
                     "cuSOLVER", "libcusolver.so", {"12", "11"},
                     {Symbol("cusolverGetVersion", &api->get_version),
                      Symbol("cusolverDnCreate", &api->create),
                      Symbol("cusolverDnDestroy", &api->destroy),
                      Symbol("cusolverDnSetStream", &api->set_stream),
                      Symbol("cusolverDnCreateParams", &api->create_params),
                      Symbol("cusolverDnDestroyParams", &api->destroy_params),
                      Symbol("cusolverDnXpotrf_bufferSize", &api->buffer_size),
                      Symbol("cusolverDnXpotrf", &api->factor),
                      Symbol("cusolverDnDpotrfBatched", &api->factor_batch)}));
  return api.release();
}

absl::StatusOr<std::unique_ptr<CuSolver>> CuSolver::Open(const Device& device) {
  static const auto& api = *new absl::StatusOr<const Api*>(LoadCuSolver());
  RETURN_IF_ERROR(api.status());
  return Open(device, *api);
}

absl::StatusOr<std::unique_ptr<CuSolver>> CuSolver::Open(const Device& device,
                                                         const Api* api) {
  std::unique_ptr<CuSolver> solver(new CuSolver(device, api));
  int version = 0;
  RETURN_IF_ERROR(CheckCall(api->get_version(&version), "cusolverGetVersion"));
  // 11.7.1 is 11701, 12.0.3 is 12003.
  solver->name_ = absl::StrCat("cuSOLVER ", version / 1000, ".",
                               version / 100 % 10, ".", version % 100);
  RETURN_IF_ERROR(CheckCall(api->create(&solver->handle_), "cusolverDnCreate"));
  RETURN_IF_ERROR(CheckCall(api->create_params(&solver->params_),
                            "cusolverDnCreateParams"));
  return solver;
}

CuSolver::~CuSolver() {
  if (params_ != nullptr) {
    api_->destroy_params(params_);
  }
  if (handle_ != nullptr) {
    api_->destroy(handle_);
  }
}

absl::Status CuSolver::FactorOne(int64_t n, double* a, int* info) {
  size_t device_bytes = 0;
  size_t host_bytes = 0;
  RETURN_IF_ERROR(
      CheckCall(api_->buffer_size(handle_, params_, cusolver::kFillUpper, n,
                                  cusolver::kF64, a, n, cusolver::kF64,
                                  &device_bytes, &host_bytes),
                "cusolverDnXpotrf_bufferSize"));
  RETURN_IF_ERROR(
      Grow(device_, device_bytes, "cuSOLVER's workspace", &workspace_));
  host_workspace_.resize(host_bytes);
  return CheckCall(
      api_->factor(handle_, params_, cusolver::kFillUpper, n, cusolver::kF64, a,
                   n, cusolver::kF64, workspace_.data(), device_bytes,
                   host_workspace_.data(), host_bytes, info),
      "cusolverDnXpotrf");
}

absl::Status CuSolver::FactorBatch(int64_t n, double* a, int64_t step,
                                   int64_t n_batch, int* infos,
                                   DeviceStream* stream) {
  std::vector<double*> matrices;
  for (int64_t b = 0; b < n_batch; ++b) {
    matrices.push_back(a + b * step);
  }
  const size_t n_bytes = matrices.size() * sizeof(double*);
  RETURN_IF_ERROR(Grow(device_, n_bytes, "places of matrices", &pointers_));
  RETURN_IF_ERROR(stream->Copy(matrices.data(), n_bytes, pointers_.data()));
  // The vector goes before the stream may have read it.
  RETURN_IF_ERROR(stream->Synchronize("factors"));
  return CheckCall(
      api_->factor_batch(handle_, cusolver::kFillUpper, static_cast<int>(n),
                         pointers_.as<double*>(), static_cast<int>(n), infos,
                         static_cast<int>(n_batch)),
      "cusolverDnDpotrfBatched");
}

absl::Status CuSolver::Factor(int64_t n, double* a, int64_t step,
                              int64_t n_batch, int* infos,
                              DeviceStream* stream) {
  if (n == 0 || n_batch == 0) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckCall(api_->set_stream(handle_, stream->handle()),
                            "cusolverDnSetStream"));
  const absl::Status status =
      n_batch == 1 ? FactorOne(n, a, infos)
                   : FactorBatch(n, a, step, n_batch, infos, stream);
  return status.ok()
             ? status
             : Annotate(status, absl::StrCat("factors of ", n_batch,
                                             " matrices of ", n, " columns"));
}

}  // namespace narrow
