#include "kernels/linalg/tile_kernels.h"

#include <vector>

#include "kernels/cpu.h"
#include "kernels/linalg/tile_plain.h"
#include "kernels/linalg/tile_simd.h"

namespace narrow {

const TileKernels& TileKernelsForCpu() {
  static const TileKernels kernels = [] {
    switch (CpuIsa()) {
      case Isa::kAvx512:
        return TileKernels{avx512::kSlabColsF32, &avx512::ProductF32,
                           &avx512::ProductF64, &avx512::Gram,
                           &avx512::PackF32};
      case Isa::kAvx2:
        return TileKernels{avx2::kSlabColsF32, &avx2::ProductF32,
                           &avx2::ProductF64, &avx2::Gram, &avx2::PackF32};
      case Isa::kScalar:
        break;
    }
    return TileKernels{kPlainSlabCols, &PlainProductF32, &PlainProductF64,
                       &PlainGram, &PlainPackF32};
  }();
  return kernels;
}

void* ThreadTileScratch(int place, int64_t n_bytes) {
  constexpr uintptr_t kAlignment = 64;
  static thread_local std::vector<uint8_t> scratch[2];
  std::vector<uint8_t>& bytes = scratch[place];
  if (bytes.size() < static_cast<size_t>(n_bytes) + kAlignment) {
    bytes.resize(static_cast<size_t>(n_bytes) + kAlignment);
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(bytes.data());
  return reinterpret_cast<void*>((address + kAlignment - 1) &
                                 ~(kAlignment - 1));
}

}  // namespace narrow
