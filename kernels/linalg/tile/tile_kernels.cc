#include "kernels/linalg/tile/tile_kernels.h"

#include <sys/mman.h>

#include <cstdlib>
#include <memory>

#include "kernels/cpu.h"
#include "kernels/linalg/tile/tile_plain.h"
#include "kernels/linalg/tile/tile_simd.h"

namespace narrow {
namespace {

constexpr size_t kHugePage = size_t{1} << 21;

}  // namespace

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
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  struct Scratch {
    std::unique_ptr<void, Free> memory;
    size_t n_bytes = 0;
  };
  static thread_local Scratch all[2];
  Scratch& scratch = all[place];
  if (scratch.n_bytes < static_cast<size_t>(n_bytes)) {
    // In huge pages, as slabs of a block lie in many small ones.
    scratch.n_bytes =
        (static_cast<size_t>(n_bytes) + kHugePage - 1) / kHugePage * kHugePage;
    scratch.memory.reset(std::aligned_alloc(kHugePage, scratch.n_bytes));
    if (scratch.memory == nullptr) {
      std::abort();  // as operator new would, some megabytes being too much
    }
    (void)madvise(scratch.memory.get(), scratch.n_bytes, MADV_HUGEPAGE);
  }
  return scratch.memory.get();
}

}  // namespace narrow
