// Any bytes as a GGUF file: refused with an error, or every tensor that it
// shows lies within it.

#include <cstdint>

#include "formats/gguf/gguf_reader.h"
#include "tools/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const narrow::MemoryFile file(data, size);
  const auto source = narrow::OpenGguf(file.path());
  if (!source.ok()) {
    return 0;
  }
  volatile uint8_t touched = 0;
  for (const narrow::TensorView& tensor : (*source)->tensors()) {
    if (!tensor.data.empty()) {
      touched = touched + tensor.data.front() + tensor.data.back();
    }
  }
  return 0;
}
