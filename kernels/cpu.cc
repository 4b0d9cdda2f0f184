#include "kernels/cpu.h"

#include <cstdlib>

namespace narrow {
namespace {

Isa DetectIsa() {
  Isa best = Isa::kScalar;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    best = Isa::kAvx2;
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      best = Isa::kAvx512;
    }
  }
#endif
  const char* limit = std::getenv("NARROW_ISA");
  if (limit != nullptr) {
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2}) {
      if (IsaName(isa) == limit && isa < best) {
        best = isa;
      }
    }
  }
  return best;
}

}  // namespace

Isa CpuIsa() {
  static const Isa isa = DetectIsa();
  return isa;
}

absl::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "";
}

bool CpuHasBf16Products() {
#if defined(__x86_64__)
  return CpuIsa() == Isa::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace narrow
