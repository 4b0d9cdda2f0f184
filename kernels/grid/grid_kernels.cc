#include "kernels/grid/grid_kernels.h"

namespace narrow {

#define NARROW_GRID_KERNELS(symbol) extern const GridKernels symbol;
#include "kernels/grid/kernels.inc"
#undef NARROW_GRID_KERNELS

absl::Span<const GridKernels* const> AllGridKernels() {
  static constexpr const GridKernels* kAll[] = {
#define NARROW_GRID_KERNELS(symbol) &symbol,
#include "kernels/grid/kernels.inc"
#undef NARROW_GRID_KERNELS
  };
  return kAll;
}

const GridKernels& GridKernelsForCpu() {
  static const GridKernels* const best = [] {
    for (const GridKernels* kernels : AllGridKernels()) {
      if (kernels->isa <= CpuIsa()) {
        return kernels;
      }
    }
    return AllGridKernels().back();
  }();
  return *best;
}

}  // namespace narrow
