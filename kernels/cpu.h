// Instruction sets of this processor, for choosing kernel variants at run
// time.
//
//   if (CpuIsa() >= Isa::kAvx512) ...
//
// Safe from any thread.

#ifndef NARROW_KERNELS_CPU_H_
#define NARROW_KERNELS_CPU_H_

#include "absl/strings/string_view.h"

namespace narrow {

// Each includes those before it.
enum class Isa {
  kScalar,  // baseline x86-64 (or any other processor)
  kAvx2,    // AVX2, FMA, F16C
  kAvx512,  // AVX-512 F, BW, DQ, VL
};

// The best of this processor, found once. The environment variable
// NARROW_ISA=scalar|avx2|avx512 lowers it, for tests and bug reports.
Isa CpuIsa();
absl::string_view IsaName(Isa isa);

// Whether matrix products of bfloat16 with float32 sums are in hardware
// (AVX512-BF16 or AMX-BF16).
bool CpuHasBf16Products();

}  // namespace narrow

#endif  // NARROW_KERNELS_CPU_H_
