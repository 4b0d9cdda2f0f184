#include "kernels/runs/runs.h"

namespace narrow {

#define NARROW_RUN_KERNELS(symbol) extern const RunKernels symbol;
#include "kernels/runs/kernels.inc"
#undef NARROW_RUN_KERNELS

absl::Span<const RunKernels* const> AllRunKernels() {
  static constexpr const RunKernels* kAll[] = {
#define NARROW_RUN_KERNELS(symbol) &symbol,
#include "kernels/runs/kernels.inc"
#undef NARROW_RUN_KERNELS
  };
  return kAll;
}

const RunKernels& RunKernelsForCpu() {
  static const RunKernels* const best = [] {
    for (const RunKernels* kernels : AllRunKernels()) {
      if (kernels->isa <= CpuIsa()) {
        return kernels;
      }
    }
    return &RunKernelsReference();
  }();
  return *best;
}

}  // namespace narrow
