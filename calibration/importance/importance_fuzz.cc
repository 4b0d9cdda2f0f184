// Any bytes as an importance matrix, in either format.

#include <cstdint>

#include "calibration/importance/importance.h"
#include "tools/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const narrow::MemoryFile file(data, size);
  const auto matrix = narrow::ReadImportance(file.path());
  if (!matrix.ok()) {
    return 0;
  }
  volatile float touched = 0;
  for (const auto& [name, entry] : matrix->entries) {
    for (const float value : entry.mean_sq) {
      touched = touched + value;
    }
  }
  return 0;
}
