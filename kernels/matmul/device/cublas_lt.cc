// The library thinks in columns. In those, out^T = right * left^T, so that its
// rows are our columns, its A our right operand and its B our left one. An
// operand whose rows lie by depth is, in columns, its own transpose.

#include "kernels/matmul/device/cublas_lt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/nvidia_library.h"

namespace narrow {

using cublas_lt::Api;
using cublas_lt::Choice;
using tile::Operand;
using tile::Product;

namespace {

// What NVIDIA recommends for Hopper; older cards ask for less.
constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;
// Of which the first that fits is taken.
constexpr int kChoices = 8;
// The most that the library asks for, and what memory of a device has.
constexpr int64_t kMaxAlignment = 256;
// Tokens come in few sizes; whoever has more begins anew.
constexpr size_t kMaxPlans = 4096;

absl::Status CheckCall(int status, absl::string_view call) {
  if (status == cublas_lt::kSuccess) {
    return absl::OkStatus();
  }
  const std::string message = absl::StrCat(call, ": cuBLASLt status ", status);
  return status == cublas_lt::kNotSupported ? absl::UnimplementedError(message)
         : status == cublas_lt::kAllocFailed
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

std::string SizesOf(const Product& product) {
  return absl::StrCat("product of ", product.n_rows, " x ", product.n_cols,
                      " x ", product.depth);
}

bool LiesByDepth(const Operand& operand) { return operand.column == 1; }

// Between lines of memory, of `length` numbers each. Where there is one line
// alone its stride may be anything.
int64_t Leading(const Operand& operand, int64_t length) {
  return std::max(LiesByDepth(operand) ? operand.row : operand.column, length);
}

int64_t AlignmentOf(const void* data) {
  const auto address = static_cast<int64_t>(reinterpret_cast<uintptr_t>(data));
  return address == 0 ? kMaxAlignment
                      : std::min(kMaxAlignment, address & -address);
}

const void* OutOf(const Product& product) {
  return product.halves != nullptr ? static_cast<const void*>(product.halves)
                                   : product.out;
}

// Owns a descriptor.
class Descriptor {
 public:
  explicit Descriptor(int (*destroy)(void*)) : destroy_(destroy) {}
  ~Descriptor() {
    if (it_ != nullptr) {
      destroy_(it_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void* get() const { return it_; }
  void** out() { return &it_; }

 private:
  int (*destroy_)(void*);
  void* it_ = nullptr;
};

template <typename T>
absl::Status Set(int (*set)(void*, int, const void*, size_t),
                 const Descriptor& of, int attribute, T value,
                 absl::string_view call) {
  return CheckCall(set(of.get(), attribute, &value, sizeof(value)),
                   absl::StrCat(call, " ", attribute));
}

// A matrix as the library sees it: lines of `length` are its columns.
absl::Status MakeLayout(const Api& api, int type, int64_t length,
                        int64_t n_lines, int64_t leading, int64_t n_batch,
                        int64_t step, Descriptor* layout) {
  RETURN_IF_ERROR(CheckCall(
      api.layout_create(layout->out(), type, static_cast<uint64_t>(length),
                        static_cast<uint64_t>(n_lines), leading),
      "cublasLtMatrixLayoutCreate"));
  if (n_batch == 1) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Set(api.layout_set, *layout, cublas_lt::kLayoutBatchCount,
                      static_cast<int32_t>(n_batch),
                      "cublasLtMatrixLayoutSetAttribute"));
  return Set(api.layout_set, *layout, cublas_lt::kLayoutBatchOffset, step,
             "cublasLtMatrixLayoutSetAttribute");
}

absl::Status MakeOperand(const Api& api, const Product& product,
                         const Operand& operand, int64_t n, int64_t step,
                         Descriptor* layout) {
  const int64_t length = LiesByDepth(operand) ? product.depth : n;
  const int64_t n_lines = LiesByDepth(operand) ? n : product.depth;
  return MakeLayout(api, cublas_lt::kBf16, length, n_lines,
                    Leading(operand, length), product.n_batch, step, layout);
}

}  // namespace

struct CublasLt::Plan {
  explicit Plan(const Api& api)
      : desc(api.desc_destroy),
        a(api.layout_destroy),
        b(api.layout_destroy),
        out(api.layout_destroy) {}

  Descriptor desc;
  Descriptor a;
  Descriptor b;
  Descriptor out;
  bool has_algorithm = false;
  cublas_lt::Algorithm algorithm = {};
};

absl::StatusOr<const Api*> LoadCublasLt() {
  auto api = std::make_unique<Api>();
  ASSIGN_OR_RETURN(
      api->path,
      LoadNvidiaLibrary(
          "cuBLASLt", "libcublasLt.so", {"13", "12"},
          {Symbol("cublasLtGetVersion", &api->get_version),
           Symbol("cublasLtCreate", &api->create),
           Symbol("cublasLtDestroy", &api->destroy),
           Symbol("cublasLtMatmulDescCreate", &api->desc_create),
           Symbol("cublasLtMatmulDescDestroy", &api->desc_destroy),
           Symbol("cublasLtMatmulDescSetAttribute", &api->desc_set),
           Symbol("cublasLtMatrixLayoutCreate", &api->layout_create),
           Symbol("cublasLtMatrixLayoutDestroy", &api->layout_destroy),
           Symbol("cublasLtMatrixLayoutSetAttribute", &api->layout_set),
           Symbol("cublasLtMatmulPreferenceCreate", &api->preference_create),
           Symbol("cublasLtMatmulPreferenceDestroy", &api->preference_destroy),
           Symbol("cublasLtMatmulPreferenceSetAttribute", &api->preference_set),
           Symbol("cublasLtMatmulAlgoGetHeuristic", &api->heuristic),
           Symbol("cublasLtMatmul", &api->matmul)}));
  return api.release();
}

CublasLt::CublasLt(const Device& device, const Api* api)
    : device_(device),
      api_(api),
      name_(absl::StrCat("cuBLASLt ", LibraryVersion(static_cast<int64_t>(
                                          api->get_version())))) {}

CublasLt::~CublasLt() {
  plans_.clear();
  if (handle_ != nullptr) {
    api_->destroy(handle_);
  }
}

absl::StatusOr<std::unique_ptr<CublasLt>> CublasLt::Open(const Device& device) {
  static const auto& api = *new absl::StatusOr<const Api*>(LoadCublasLt());
  RETURN_IF_ERROR(api.status());
  return Open(device, *api);
}

absl::StatusOr<std::unique_ptr<CublasLt>> CublasLt::Open(const Device& device,
                                                         const Api* api) {
  std::unique_ptr<CublasLt> library(new CublasLt(device, api));
  RETURN_IF_ERROR(CheckCall(api->create(&library->handle_), "cublasLtCreate"));
  return library;
}

// One a stream, as what runs in two at a time must not share it. Without
// memory for one the library goes on without.
absl::StatusOr<DeviceBuffer*> CublasLt::WorkspaceOf(DeviceStream* stream) {
  const auto [at, is_new] = workspaces_.try_emplace(stream->handle());
  if (is_new) {
    absl::StatusOr<DeviceBuffer> buffer = device_.Allocate(
        static_cast<size_t>(kWorkspaceBytes), "cuBLASLt's workspace");
    if (buffer.ok()) {
      at->second = *std::move(buffer);
    } else if (!absl::IsResourceExhausted(buffer.status())) {
      workspaces_.erase(at);
      return buffer.status();
    }
  }
  return &at->second;
}

absl::StatusOr<std::unique_ptr<CublasLt::Plan>> CublasLt::MakePlan(
    const Product& product, int64_t workspace_bytes) {
  auto plan = std::make_unique<Plan>(*api_);
  RETURN_IF_ERROR(
      CheckCall(api_->desc_create(plan->desc.out(), cublas_lt::kComputeF32,
                                  cublas_lt::kF32),
                "cublasLtMatmulDescCreate"));
  const auto set = [&](int attribute, auto value) {
    return Set(api_->desc_set, plan->desc, attribute, value,
               "cublasLtMatmulDescSetAttribute");
  };
  RETURN_IF_ERROR(set(cublas_lt::kDescTransA, LiesByDepth(product.right)
                                                  ? cublas_lt::kTransposed
                                                  : cublas_lt::kNotTransposed));
  RETURN_IF_ERROR(set(cublas_lt::kDescTransB, LiesByDepth(product.left)
                                                  ? cublas_lt::kNotTransposed
                                                  : cublas_lt::kTransposed));
  if (product.bias != nullptr) {
    RETURN_IF_ERROR(set(cublas_lt::kDescEpilogue, cublas_lt::kEpilogueBias));
    RETURN_IF_ERROR(set(cublas_lt::kDescBiasPointer,
                        static_cast<const void*>(product.bias)));
  }
  RETURN_IF_ERROR(MakeOperand(*api_, product, product.right, product.n_cols,
                              product.right_step, &plan->a));
  RETURN_IF_ERROR(MakeOperand(*api_, product, product.left, product.n_rows,
                              product.left_step, &plan->b));
  RETURN_IF_ERROR(MakeLayout(
      *api_, product.halves != nullptr ? cublas_lt::kBf16 : cublas_lt::kF32,
      product.n_cols, product.n_rows, std::max(product.out_row, product.n_cols),
      product.n_batch, product.out_step, &plan->out));
  RETURN_IF_ERROR(Choose(product, workspace_bytes, plan.get()));
  return plan;
}

// The first of the library's choices that it can do in that workspace.
absl::Status CublasLt::Choose(const Product& product, int64_t workspace_bytes,
                              Plan* plan) {
  Descriptor preference(api_->preference_destroy);
  RETURN_IF_ERROR(CheckCall(api_->preference_create(preference.out()),
                            "cublasLtMatmulPreferenceCreate"));
  const auto prefer = [&](int attribute, auto value) {
    return Set(api_->preference_set, preference, attribute, value,
               "cublasLtMatmulPreferenceSetAttribute");
  };
  RETURN_IF_ERROR(prefer(cublas_lt::kPreferWorkspace,
                         static_cast<uint64_t>(workspace_bytes)));
  const void* const out = OutOf(product);
  int attribute = cublas_lt::kPreferAlignmentA;
  for (const void* data :
       {static_cast<const void*>(product.right.data),
        static_cast<const void*>(product.left.data), out, out}) {
    RETURN_IF_ERROR(
        prefer(attribute++, static_cast<uint32_t>(AlignmentOf(data))));
  }
  Choice choices[kChoices] = {};
  int n_found = 0;
  const absl::Status status =
      CheckCall(api_->heuristic(handle_, plan->desc.get(), plan->a.get(),
                                plan->b.get(), plan->out.get(), plan->out.get(),
                                preference.get(), kChoices, choices, &n_found),
                "cublasLtMatmulAlgoGetHeuristic");
  if (!status.ok() && !absl::IsUnimplemented(status)) {
    return status;
  }
  for (int i = 0; status.ok() && i < n_found && !plan->has_algorithm; ++i) {
    plan->has_algorithm =
        choices[i].state == cublas_lt::kSuccess &&
        choices[i].workspace_bytes <= static_cast<size_t>(workspace_bytes);
    plan->algorithm = choices[i].algorithm;
  }
  return absl::OkStatus();
}

absl::StatusOr<const CublasLt::Plan*> CublasLt::PlanOf(
    const Product& product, int64_t workspace_bytes) {
  const Shape shape = {product.n_rows,
                       product.n_cols,
                       product.depth,
                       product.left.row,
                       product.left.column,
                       product.right.row,
                       product.right.column,
                       product.out_row,
                       product.n_batch,
                       product.left_step,
                       product.right_step,
                       product.out_step,
                       product.halves != nullptr,
                       product.bias != nullptr,
                       AlignmentOf(product.left.data),
                       AlignmentOf(product.right.data),
                       AlignmentOf(OutOf(product)),
                       AlignmentOf(product.bias),
                       workspace_bytes};
  const auto found = plans_.find(shape);
  if (found != plans_.end()) {
    return found->second.get();
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Plan> plan,
                   MakePlan(product, workspace_bytes));
  if (plans_.size() >= kMaxPlans) {
    plans_.clear();
  }
  return (plans_[shape] = std::move(plan)).get();
}

absl::Status CublasLt::Multiply(const Product& product, DeviceStream* stream) {
  if (product.depth == 0 ||
      (product.bias != nullptr &&
       (product.halves != nullptr || product.n_batch != 1))) {
    return absl::UnimplementedError(
        "cuBLASLt wants depth, and adds a bias of float32 to a single float32 "
        "result");
  }
  ASSIGN_OR_RETURN(DeviceBuffer* const workspace, WorkspaceOf(stream));
  const auto plan = PlanOf(product, static_cast<int64_t>(workspace->n_bytes()));
  if (!plan.ok()) {
    return Annotate(plan.status(), SizesOf(product));
  }
  if (!(*plan)->has_algorithm) {
    return absl::UnimplementedError(
        absl::StrCat("cuBLASLt has no algorithm for a ", SizesOf(product)));
  }
  if (product.bias != nullptr) {
    RETURN_IF_ERROR(Set(api_->desc_set, (*plan)->desc,
                        cublas_lt::kDescBiasPointer,
                        static_cast<const void*>(product.bias),
                        "cublasLtMatmulDescSetAttribute"));
  }
  const float one = 1;
  const float beta = product.accumulate ? 1 : 0;
  void* const out = const_cast<void*>(OutOf(product));
  const absl::Status status = CheckCall(
      api_->matmul(handle_, (*plan)->desc.get(), &one, product.right.data,
                   (*plan)->a.get(), product.left.data, (*plan)->b.get(), &beta,
                   out, (*plan)->out.get(), out, (*plan)->out.get(),
                   &(*plan)->algorithm, workspace->data(), workspace->n_bytes(),
                   stream->handle()),
      "cublasLtMatmul");
  return status.ok() ? status : Annotate(status, SizesOf(product));
}

}  // namespace narrow
