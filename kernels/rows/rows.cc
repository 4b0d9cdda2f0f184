#include "kernels/rows/rows.h"

namespace narrow {

#define NARROW_ROW_KERNELS(symbol) extern const RowKernels symbol;
#include "kernels/rows/kernels.inc"
#undef NARROW_ROW_KERNELS

absl::Span<const RowKernels* const> AllRowKernels() {
  static constexpr const RowKernels* kAll[] = {
#define NARROW_ROW_KERNELS(symbol) &symbol,
#include "kernels/rows/kernels.inc"
#undef NARROW_ROW_KERNELS
  };
  return kAll;
}

const RowKernels& RowKernelsForCpu() {
  static const RowKernels* const best = [] {
    for (const RowKernels* kernels : AllRowKernels()) {
      if (kernels->isa <= CpuIsa()) {
        return kernels;
      }
    }
    return &RowKernelsReference();
  }();
  return *best;
}

}  // namespace narrow
