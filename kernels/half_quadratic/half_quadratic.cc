#include "kernels/half_quadratic/half_quadratic.h"

namespace narrow {

#define NARROW_HALF_QUADRATIC(symbol) extern const HalfQuadratic symbol;
#include "kernels/half_quadratic/kernels.inc"
#undef NARROW_HALF_QUADRATIC

absl::Span<const HalfQuadratic* const> AllHalfQuadratic() {
  static constexpr const HalfQuadratic* kAll[] = {
#define NARROW_HALF_QUADRATIC(symbol) &symbol,
#include "kernels/half_quadratic/kernels.inc"
#undef NARROW_HALF_QUADRATIC
  };
  return kAll;
}

const HalfQuadratic& HalfQuadraticForCpu() {
  static const HalfQuadratic* const best = [] {
    for (const HalfQuadratic* kernels : AllHalfQuadratic()) {
      if (kernels->isa <= CpuIsa()) {
        return kernels;
      }
    }
    return &HalfQuadraticReference();
  }();
  return *best;
}

}  // namespace narrow
