// What a device multiplies and factors with where last digits may differ from
// the processor's: tensor cores, NVIDIA's libraries.
//
//   ASSIGN_OR_RETURN(auto fast, FastLinalg::Open(device, &notes));
//   grid->MultiplyBy(fast->stacked());
//   DeviceFactors::New(device, n_batch, fast->solver());
//
// One thread and stream at a time.

#ifndef NARROW_KERNELS_LINALG_DEVICE_FAST_LINALG_H_
#define NARROW_KERNELS_LINALG_DEVICE_FAST_LINALG_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/linalg/device/cusolver.h"
#include "kernels/linalg/device/fast_gram.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/matmul/device/stacked_products.h"

namespace narrow {

class FastLinalg {
 public:
  // `notes`, if given, is told what a card goes without.
  static absl::StatusOr<std::unique_ptr<FastLinalg>> Open(
      const Device& device, std::vector<std::string>* notes = nullptr);

  DeviceProducts* products() { return products_.get(); }
  StackedProducts* stacked() { return &stacked_; }
  FastGrams* grams() { return &grams_; }
  // nullptr: there is none, factors are our own.
  CuSolver* solver() { return solver_.get(); }

 private:
  FastLinalg(const Device& device, std::unique_ptr<DeviceProducts> products)
      : products_(std::move(products)),
        stacked_(device, products_.get()),
        grams_(device, products_.get()) {}

  std::unique_ptr<DeviceProducts> products_;
  StackedProducts stacked_;
  FastGrams grams_;
  std::unique_ptr<CuSolver> solver_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_FAST_LINALG_H_
