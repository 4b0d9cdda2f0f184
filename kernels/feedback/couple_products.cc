// Tested by couple_rows_test.cc.

#include "kernels/feedback/couple_products.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/device/device_factor.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

constexpr char kWhat[] = "coupled outputs";

}  // namespace

CoupleProducts::CoupleProducts(const Device* device, const float* gram,
                               int64_t n_rows, int64_t n_cols, ThreadPool* pool)
    : gram_(gram), n_rows_(n_rows), n_cols_(n_cols), pool_(pool) {
  if (device == nullptr) {
    return;
  }
  device_ = std::make_unique<Device>(*device);
  OnDevice([&]() -> absl::Status {
    ASSIGN_OR_RETURN(stream_, device_->NewStream());
    RETURN_IF_ERROR(Reserve(n_cols * n_cols, &gram_copy_));
    RETURN_IF_ERROR(
        stream_.Copy(gram, gram_copy_.n_bytes(), gram_copy_.data()));
    return stream_.Synchronize(kWhat);
  });
}

bool CoupleProducts::OnDevice(const std::function<absl::Status()>& work) {
  if (device_ == nullptr) {
    return false;
  }
  const absl::Status status = work();
  if (status.ok()) {
    return true;
  }
  note_ = absl::StrCat("outputs coupled by the processor: ", status.message());
  gram_copy_ = DeviceBuffer();
  in_ = DeviceBuffer();
  out_ = DeviceBuffer();
  device_.reset();
  return false;
}

absl::Status CoupleProducts::Reserve(int64_t n_floats,
                                     DeviceBuffer* buffer) const {
  const size_t n_bytes = static_cast<size_t>(4 * n_floats);
  if (buffer->n_bytes() < n_bytes) {
    *buffer = DeviceBuffer();
    ASSIGN_OR_RETURN(*buffer, device_->Allocate(n_bytes, kWhat));
  }
  return absl::OkStatus();
}

absl::Status CoupleProducts::Run(const chain::Product<float>& product,
                                 int64_t n_floats, float* out) {
  RETURN_IF_ERROR(RunChainProduct(product, &stream_));
  RETURN_IF_ERROR(
      stream_.Copy(product.out, static_cast<size_t>(4 * n_floats), out));
  return stream_.Synchronize(kWhat);
}

void CoupleProducts::Changed(int64_t first, int64_t n, RowMatrix* matrix) {
  OnDevice([&]() -> absl::Status {
    const size_t size = matrix->values_.size();
    const size_t width = size / static_cast<size_t>(n_rows_);
    RETURN_IF_ERROR(Reserve(static_cast<int64_t>(size), &matrix->copy_));
    const size_t at = static_cast<size_t>(first) * width;
    RETURN_IF_ERROR(stream_.Copy(matrix->data() + at,
                                 4 * static_cast<size_t>(n) * width,
                                 matrix->copy_.as<float>() + at));
    return stream_.Synchronize(kWhat);
  });
}

void CoupleProducts::Multiply(const RowMatrix& rows, RowMatrix* products) {
  const bool done = OnDevice([&]() -> absl::Status {
    RETURN_IF_ERROR(Reserve(n_rows_ * n_cols_, &products->copy_));
    return Run(chain::Gemm(Update::kSet, n_rows_, n_cols_, n_cols_,
                           rows.copy_.as<const float>(), n_cols_,
                           gram_copy_.as<const float>(), n_cols_,
                           products->copy_.as<float>(), n_cols_),
               n_rows_ * n_cols_, products->data());
  });
  if (!done) {
    Gemm(pool_, Update::kSet, n_rows_, n_cols_, n_cols_, rows.data(), n_cols_,
         gram_, n_cols_, products->data(), n_cols_);
  }
}

void CoupleProducts::Multiply(const float* rows, int64_t n, float* products) {
  const bool done = OnDevice([&]() -> absl::Status {
    RETURN_IF_ERROR(Reserve(n * n_cols_, &in_));
    RETURN_IF_ERROR(Reserve(n * n_cols_, &out_));
    RETURN_IF_ERROR(
        stream_.Copy(rows, static_cast<size_t>(4 * n * n_cols_), in_.data()));
    return Run(
        chain::Gemm(Update::kSet, n, n_cols_, n_cols_, in_.as<const float>(),
                    n_cols_, gram_copy_.as<const float>(), n_cols_,
                    out_.as<float>(), n_cols_),
        n * n_cols_, products);
  });
  if (!done) {
    Gemm(pool_, Update::kSet, n, n_cols_, n_cols_, rows, n_cols_, gram_,
         n_cols_, products, n_cols_);
  }
}

void CoupleProducts::Couple(int64_t first, int64_t n, const RowMatrix& moments,
                            const RowMatrix& all, float* sums) {
  const bool done = OnDevice([&]() -> absl::Status {
    RETURN_IF_ERROR(Reserve(n * n_cols_, &out_));
    return Run(chain::Gemm(Update::kSet, n, n_cols_, n_rows_,
                           moments.copy_.as<const float>() + first * n_rows_,
                           n_rows_, all.copy_.as<const float>(), n_cols_,
                           out_.as<float>(), n_cols_),
               n * n_cols_, sums);
  });
  if (!done) {
    Gemm(pool_, Update::kSet, n, n_cols_, n_rows_,
         moments.data() + first * n_rows_, n_rows_, all.data(), n_cols_, sums,
         n_cols_);
  }
}

void CoupleProducts::Subtract(const float* factors, int64_t n, int64_t depth,
                              const RowMatrix& all, float* targets) {
  const bool done = OnDevice([&]() -> absl::Status {
    RETURN_IF_ERROR(Reserve(n * depth, &in_));
    RETURN_IF_ERROR(Reserve(n * n_cols_, &out_));
    RETURN_IF_ERROR(
        stream_.Copy(factors, static_cast<size_t>(4 * n * depth), in_.data()));
    RETURN_IF_ERROR(stream_.Copy(targets, static_cast<size_t>(4 * n * n_cols_),
                                 out_.data()));
    return Run(
        chain::Gemm(Update::kSubtract, n, n_cols_, depth, in_.as<const float>(),
                    depth, all.copy_.as<const float>(), n_cols_,
                    out_.as<float>(), n_cols_),
        n * n_cols_, targets);
  });
  if (!done) {
    Gemm(pool_, Update::kSubtract, n, n_cols_, depth, factors, depth,
         all.data(), n_cols_, targets, n_cols_);
  }
}

bool CoupleProducts::Factor(std::vector<double>* moments) {
  FactorResult result;
  const bool done = OnDevice([&] {
    return FactorUpperOnDevice(*device_, kWhat, n_rows_, moments->data(),
                               &result);
  });
  return (done ? result : FactorUpper(pool_, n_rows_, moments->data()))
             .failed_at < 0;
}

}  // namespace narrow
