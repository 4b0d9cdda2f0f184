#include "kernels/compensated/block_kernels.h"

namespace narrow {

#define NARROW_BLOCK_KERNELS(symbol) extern const BlockKernels symbol;
#include "kernels/compensated/kernels.inc"
#undef NARROW_BLOCK_KERNELS

absl::Span<const BlockKernels* const> AllBlockKernels() {
  static constexpr const BlockKernels* kAll[] = {
#define NARROW_BLOCK_KERNELS(symbol) &symbol,
#include "kernels/compensated/kernels.inc"
#undef NARROW_BLOCK_KERNELS
  };
  return kAll;
}

const BlockKernels& BlockKernelsForCpu() {
  static const BlockKernels* const best = [] {
    for (const BlockKernels* kernels : AllBlockKernels()) {
      if (kernels->isa <= CpuIsa()) {
        return kernels;
      }
    }
    return AllBlockKernels().back();
  }();
  return *best;
}

}  // namespace narrow
