// The products that coupling of rows takes (couple_rows.h): on the processor,
// or on a device that keeps copies of what all rows have, with the same bits.
//
//   CoupleProducts products(device, gram, n_rows, n_cols, &pool);
//   RowMatrix errors(n_rows * n_cols);
//   ...                                     // errors.values() are changed
//   products.Changed(first, n, &errors);
//   products.Couple(first, n, errors, sums);
//
// What a device has no memory for, or fails at, is the processor's from then
// on. Borrows what it is given; one thread at a time, which uses the pool's.

#ifndef NARROW_KERNELS_FEEDBACK_COUPLE_PRODUCTS_H_
#define NARROW_KERNELS_FEEDBACK_COUPLE_PRODUCTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/linalg/device/chain_threads.h"

namespace narrow {

// Numbers of all rows, and a device's copy of them.
class RowMatrix {
 public:
  explicit RowMatrix(size_t n) : values_(n) {}
  RowMatrix(const float* begin, const float* end) : values_(begin, end) {}

  float* data() { return values_.data(); }
  const float* data() const { return values_.data(); }
  std::vector<float>* values() { return &values_; }
  float operator[](size_t i) const { return values_[i]; }

 private:
  friend class CoupleProducts;
  std::vector<float> values_;
  DeviceBuffer copy_;
};

class CoupleProducts {
 public:
  // `device` null: the processor. `gram` [n_cols, n_cols].
  CoupleProducts(const Device* device, const float* gram, int64_t n_rows,
                 int64_t n_cols, ThreadPool* pool);

  // To be called when rows first ... first + n - 1 of [n_rows, n_cols], or of
  // [n_rows, n_rows], have other values.
  void Changed(int64_t first, int64_t n, RowMatrix* matrix);

  // products = all rows times the Gram matrix, and of some rows [n, n_cols].
  void Multiply(const RowMatrix& rows, RowMatrix* products);
  void Multiply(const float* rows, int64_t n, float* products);
  // sums [n, n_cols] = moments [first ..., .] all.
  void Couple(int64_t first, int64_t n, const RowMatrix& moments,
              const RowMatrix& all, float* sums);
  // targets [n, n_cols] -= factors [n, depth] of the first `depth` rows.
  void Subtract(const float* factors, int64_t n, int64_t depth,
                const RowMatrix& all, float* targets);
  // R of moments [n_rows, n_rows] in double (kernels/linalg/cholesky.h);
  // whether they have one.
  bool Factor(std::vector<double>* moments);

  // Why the device was left; empty if it was not.
  const std::string& note() const { return note_; }

 private:
  // Whether the device did `work`; after an error it is left.
  bool OnDevice(const std::function<absl::Status()>& work);
  absl::Status Reserve(int64_t n_floats, DeviceBuffer* buffer) const;
  // `out` of a product, which is in out_, to the host.
  absl::Status Run(const chain::Product<float>& product, int64_t n_floats,
                   float* out);

  std::unique_ptr<Device> device_;  // null: the processor
  const float* const gram_;
  const int64_t n_rows_;
  const int64_t n_cols_;
  ThreadPool* const pool_;
  DeviceStream stream_;
  std::string note_;
  DeviceBuffer gram_copy_;
  DeviceBuffer in_;   // [n, n_cols] or factors
  DeviceBuffer out_;  // [n, n_cols]
};

}  // namespace narrow

#endif  // NARROW_KERNELS_FEEDBACK_COUPLE_PRODUCTS_H_
